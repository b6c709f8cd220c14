"""Work beside the event loop, on as many threads as there are cores for it."""

import asyncio
import contextvars
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

import stages

T = TypeVar("T")


class Job(Generic[T]):
    """Work that waits for a thread, is done by one, or is done."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = [work]
        self._context = contextvars.copy_context()
        self._since = time.perf_counter()
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[T] = self._loop.create_future()

    def withdraw(self) -> None:
        """Have it not begin, if it has not yet. What it refers to is let go of at once."""
        try:
            self._work.pop()
        except IndexError:
            return
        del self._context
        self.done.cancel()

    def run(self) -> None:
        """Do the work, on a thread."""
        try:
            work = self._work.pop()  # the one step that is either this thread's or `withdraw`'s
        except IndexError:
            return
        try:
            result = self._context.run(_begin, work, self._since)
        except BaseException as error:  # noqa: BLE001  it is whoever waits who learns of it
            # A future takes no StopIteration.
            self._tell(self._failed, RuntimeError(repr(error)) if isinstance(error, StopIteration) else error)
            del self, work  # the error refers to this frame, and is what it refers to
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


def _begin(work: Callable[[], T], since: float) -> T:
    if request := stages.current.get():
        request.spend("queue", since)
    return work()


class Threads:
    """A pool whose threads take the next work themselves, without a turn of the event loop in between.

    In an executor's queue, work that was cancelled stays with all that it refers to, an upload of 10 MB say, until a
    thread comes to it; and a thread may be busy for long. Here its place is left empty.
    """

    def __init__(self, count: int, name: str) -> None:
        self.count = count
        self._name = name
        self._waiting = _Waiting()
        self._started = False

    def start(self, work: Callable[[], T]) -> Job[T]:
        """Have the work done as soon as a thread is free for it."""
        if not self._started:
            self._started = True
            threads = [
                threading.Thread(target=self._waiting.serve, name=f"{self._name}_{number}", daemon=True)
                for number in range(self.count)
            ]
            for thread in threads:
                thread.start()
            weakref.finalize(self, _end, self._waiting, threads)
        job = Job(work)
        self._waiting.put(job)
        return job

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        """What the work gives. Cancelled before it begins, it never does; after that, nothing can stop it."""
        job = self.start(lambda: work(*args))
        try:
            return await asyncio.shield(job.done)
        except asyncio.CancelledError:
            job.withdraw()
            raise
        finally:
            del job  # an error refers to this frame, and the job to the error


def _end(waiting: "_Waiting", threads: "list[threading.Thread]") -> None:
    waiting.end()
    # At the interpreter's exit: a thread that came back from native code after it would abort the process.
    if not threading.main_thread().is_alive():
        for thread in threads:
            thread.join()


class _Waiting:
    """The jobs that wait for a thread, first come, first served, or the threads that wait for a job."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: deque[Job[Any]] = deque()
        # The one that waited least comes first: its core is awake, and has in its cache what the last job left there.
        self._idle: list[SimpleQueue[Job[Any] | None]] = []
        self._ended = False

    def put(self, job: Job[Any]) -> None:
        with self._lock:
            if not self._idle:
                self._jobs.append(job)
                return
            thread = self._idle.pop()
        thread.put(job)

    def serve(self) -> None:
        """What each thread does."""
        own: SimpleQueue[Job[Any] | None] = SimpleQueue()
        while True:
            with self._lock:
                if self._jobs:
                    job: Job[Any] | None = self._jobs.popleft()
                elif self._ended:
                    return
                else:
                    job = None
                    self._idle.append(own)
            if job is None:
                job = own.get()
                if job is None:
                    return
            job.run()

    def end(self) -> None:
        """Have the threads end once nothing waits for them."""
        with self._lock:
            self._ended = True
            idle, self._idle = self._idle, []
        for thread in idle:
            thread.put(None)
