"""Work beside the event loop, on as many threads as there are cores for it."""

import asyncio
import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Job(Generic[T]):
    """Work that waits for a thread, is done by one, or is done."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = [work]
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[T] = self._loop.create_future()

    def withdraw(self) -> bool:
        """Whether it had not begun, and never will. What it refers to is let go of at once."""
        try:
            self._work.pop()
        except IndexError:
            return False
        self.done.cancel()
        return True

    def run(self) -> None:
        """Do the work, on a thread."""
        try:
            work = self._work.pop()  # the one step that is either this thread's or `withdraw`'s
        except IndexError:
            return
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001  it is whoever waits who learns of it
            self._tell(self._failed, error)
        else:
            self._tell(self._succeeded, result)

    def _tell(self, how: Callable[[Any], None], what: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(how, what)
        except RuntimeError:
            if not self._loop.is_closed():  # where it is, nobody waits any more
                raise

    def _succeeded(self, result: T) -> None:
        if not self.done.cancelled():
            self.done.set_result(result)

    def _failed(self, error: BaseException) -> None:
        if not self.done.cancelled():
            self.done.set_exception(error)
            self.done.exception()  # where nobody waits for it any more, it is not to be logged as forgotten


class Threads:
    """A pool whose threads take the next work themselves, without a turn of the event loop in between.

    In an executor's queue, work that was cancelled stays with all that it refers to, an upload of 10 MB say, until a
    thread comes to it; and a thread may be busy for long. Here its place is left empty.
    """

    def __init__(self, count: int, name: str) -> None:
        self.count = count
        self._name = name
        self._queue: SimpleQueue[Job[Any] | None] = SimpleQueue()
        self._started = False

    def start(self, work: Callable[[], T]) -> Job[T]:
        """Have the work done as soon as a thread is free for it."""
        if not self._started:
            self._started = True
            for number in range(self.count):
                threading.Thread(target=_work, args=(self._queue,), name=f"{self._name}_{number}", daemon=True).start()
            weakref.finalize(self, _end, self._queue, self.count)
        job = Job(work)
        self._queue.put(job)
        return job

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        """What the work gives. Cancelled before it begins, it never does; after that, nothing can stop it."""
        job = self.start(lambda: work(*args))
        try:
            return await asyncio.shield(job.done)
        except asyncio.CancelledError:
            job.withdraw()
            raise


def _work(queue: "SimpleQueue[Job[Any] | None]") -> None:
    while (job := queue.get()) is not None:
        job.run()
        del job  # with its result, which is not to be kept until the next one comes


def _end(queue: "SimpleQueue[Job[Any] | None]", count: int) -> None:
    for _ in range(count):
        queue.put(None)
