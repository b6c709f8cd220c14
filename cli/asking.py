"""Many photos through the pipeline: several at once, answered in the order in which they were named, as they come."""

import asyncio
import sys
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from api.settings import Settings
from cli.photos import PhotoError, Source
from evaluation.run import Photo
from faces.errors import InputError
from search import searches_at_once

T = TypeVar("T")

AHEAD: Final = 8  # answers that may wait, for each photo at work, for one before them that takes long


@dataclass(frozen=True, slots=True)
class Answered(Generic[T]):
    source: Source
    answer: T | None  # None: it failed
    failed: str = ""  # why


def ask_all(
    sources: Sequence[Source],
    ask: Callable[[Photo, Source], Awaitable[T]],
    tell: Callable[[Answered[T]], None],
    *,
    at_once: int,
) -> int:
    """Tells the answer of each photo, and gives the number of those that failed. Raises RunnerError, and what else
    `ask` and `tell` do; nothing is begun after that.
    """

    async def run() -> int:
        failed = 0
        with _progress(len(sources)) as advance:
            async with aclosing(_answers(sources, ask, at_once)) as answers:
                async for answered in answers:
                    failed += bool(answered.failed)
                    tell(answered)
                    advance()
        return failed

    return asyncio.run(run())


def photos_at_once(configured: Settings) -> int:
    """As many as the threads do; more of those that are searched for small faces would be refused."""
    return min(configured.threads, 2 * searches_at_once(configured.decode_threads))


async def _answers(
    sources: Sequence[Source], ask: Callable[[Photo, Source], Awaitable[T]], at_once: int
) -> AsyncGenerator[Answered[T], None]:
    places = asyncio.Semaphore(at_once)

    async def one(source: Source) -> Answered[T]:
        async with places:
            try:
                # Standard input here: a thread that waits for it would hold up Ctrl-C.
                photo = source.read() if source.path is None else await asyncio.to_thread(source.read)
                return Answered(source, await ask(photo, source))
            except (InputError, PhotoError) as error:
                return Answered(source, None, str(error))
            except MemoryError:
                return Answered(source, None, "there is not enough memory for it")

    waiting: deque[asyncio.Task[Answered[T]]] = deque()
    try:
        for source in sources:
            waiting.append(asyncio.create_task(one(source)))
            if len(waiting) >= AHEAD * at_once:
                yield await waiting.popleft()
        while waiting:
            yield await waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """A bar on standard error, where a person sees it and results do not go by on the same screen."""
    if total < 2 or not sys.stderr.isatty() or sys.stdout.isatty():
        yield lambda: None
        return
    columns = (TextColumn("photos"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Results on standard output are not for this console.
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False, transient=True) as bar:
        task = bar.add_task("photos", total=total)
        yield lambda: bar.advance(task)
