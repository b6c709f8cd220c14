"""Work beside the event loop, on as many threads as there are cores for it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


class Threads:
    """A pool in which nothing waits: work is handed over when a thread is free for it.

    In an executor's own queue, work that was cancelled stays with all that it refers to, an upload of 10 MB say, until
    a thread comes to it; and a thread may be busy for long.
    """

    def __init__(self, count: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(count, name)
        self._count = count
        self._loop: asyncio.AbstractEventLoop | None = None
        self._free = asyncio.Semaphore(count)

    async def start(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        """Wait for a free thread, and begin. Cancelled before that, nothing begins; after it, nothing can stop it."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # A command runs one loop after another, and a semaphore is bound to the loop in which it was waited for.
            self._loop, self._free = loop, asyncio.Semaphore(self._count)
        free = self._free
        await free.acquire()
        begun = asyncio.wrap_future(self._pool.submit(work))
        begun.add_done_callback(partial(_ended, free))
        return begun

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.shield(await self.start(lambda: work(*args)))


def _ended(free: asyncio.Semaphore, work: "asyncio.Future[Any]") -> None:
    free.release()
    if not work.cancelled():
        work.exception()  # where nobody waits for it any more, it is not to be logged as forgotten
