"""A model's part of the way of an image: rows are prepared, answered and read."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from memory import Hold
from stages import aside, stage
from threads import Threads

S = TypeVar("S")
T = TypeVar("T")
Rows = Any  # what a runner takes and gives: an array with a row for each image or face


@dataclass(frozen=True, slots=True)
class _Unanswered(Generic[S]):
    rows: Rows
    state: S


class Step:
    def __init__(
        self,
        name: str,
        call: Callable[[Rows], Awaitable[Rows]],
        here: Callable[[Rows], Rows] | None,
        threads: Threads,
    ) -> None:
        """name: of the stage. call: the runner's method. here: the same for a thread of this process, where the runner
        lives in it and computes on the CPU.
        """
        self._name = name
        self._call = call
        self._here = here
        self._threads = threads

    async def take(
        self,
        held: Hold,
        prepare: Callable[[], tuple[Rows, S]],
        read: Callable[[S, Rows], T],
        *,
        prepared: Callable[[], None] = lambda: None,
    ) -> T:
        """What `read` makes of the model's answers to the rows that `prepare` gives. Both run on a thread.

        One row for a model that computes here is answered in between, on the same thread: what was just written is in
        the cache of its core, and nothing waits for a turn of the event loop. Several go to as many threads as there
        are. read: gets what `prepare` gave besides, and the answers. held: memory for all of it.
        prepared: called on the event loop when it is known that `prepare` is done, at the latest with the answer.
        """

        def at_once() -> T | _Unanswered[S]:
            rows, state = prepare()
            if self._here is None or len(rows) != 1:
                return _Unanswered(rows, state)
            with stage(self._name):
                return read(state, self._here(rows))

        done = await held.in_thread(self._threads, at_once)
        prepared()
        if not isinstance(done, _Unanswered):
            return done
        with stage(self._name), aside():
            answers = await self._call(done.rows) if len(done.rows) else done.rows
        state = done.state
        del done

        def then() -> T:
            with stage(self._name):
                return read(state, answers)

        return await held.in_thread(self._threads, then)
