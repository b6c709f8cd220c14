"""Every picture of a list through the pipeline, once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from evaluation.journal import Answer, Journal
from faces.errors import InputError


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture on the disk, in the place of a request's upload."""

    path: Path
    content: bytes
    field: str = "image"

    def read(self) -> bytes:
        return self.content


async def answers(
    pictures: Iterable[str],
    folder: Path,
    ask: Callable[[Photo], Awaitable[Answer]],
    journal: Journal,
    *,
    at_once: int,
    done: Callable[[], None],
) -> dict[str, Answer]:
    """The answer for each picture, from the journal or from `ask`, several at a time.

    A picture that can't be read, or that the pipeline refuses, has the reason for its answer. `done` is called after
    each. Raises whatever else `ask` does, RunnerError above all.
    """
    wanted = iter(dict.fromkeys(pictures))
    found: dict[str, Answer] = {}

    async def work() -> None:
        for picture in wanted:
            found[picture] = await _answer(folder / picture, ask, journal)
            done()

    await asyncio.gather(*(work() for _ in range(at_once)))
    return found


async def _answer(file: Path, ask: Callable[[Photo], Awaitable[Answer]], journal: Journal) -> Answer:
    try:
        content = await asyncio.to_thread(file.read_bytes)
    except OSError as error:
        return Answer(failed=error.strerror or str(error))
    key = journal.key(content)
    answer = journal.get(key)
    if answer is None:
        try:
            answer = await ask(Photo(file, content))
        except InputError as error:
            answer = Answer(failed=str(error))
        journal.add(key, answer)
    return answer
