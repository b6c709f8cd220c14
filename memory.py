"""The memory of pictures: a bound on what all requests hold of it, and its way back to the system."""

import asyncio
import ctypes
import gc
import platform
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from stages import stage
from threads import Threads

T = TypeVar("T")

_M_TRIM_THRESHOLD: Final = -1  # glibc, malloc.h
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_MMAP_THRESHOLD_BYTES: Final = 4 << 20
# What the end of each heap may keep: as much as the pictures of an ordinary size that are in work take there. With
# glibc's 128 kB they go back to the system and come anew for each picture, page by page, which doubles the time that
# a small JPEG takes to decode.
_TRIM_THRESHOLD_BYTES: Final = 32 << 20
_ARENAS: Final = 2


def return_freed_memory() -> None:
    """Have what is freed of large blocks go back to the system, in this process and from now on.

    glibc gives a large block a mapping of its own, and raises the size from which it does with each that is freed, up
    to 32 MB. Pillow's, of 16 MB, then come from the heaps of many threads, which keep them. A size that was set stays.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_BYTES)
        libc.mallopt(_M_ARENA_MAX, _ARENAS)


def keep_what_is_there() -> None:
    """Have the garbage collector look no more at what this process has made so far.

    That are the modules, some 140,000 objects: going through them stops everything for 100 ms and more, again and again
    under load, and finds nothing.
    """
    gc.collect()
    gc.freeze()


class ImageMemory:
    """A number of bytes, lent first come, first served."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._free = limit_bytes
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    @property
    def limit_bytes(self) -> int:
        return self._limit

    @property
    def free_bytes(self) -> int:
        return self._free

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator["Hold"]:
        """Wait for so many bytes, and hold them inside. More than there are at all are taken as all there are.

        Whoever holds some must not wait for more: two of them could wait for each other.
        """
        hold = Hold(self, min(size, self._limit))
        with stage("memory"):
            await self._take(hold.size)
        try:
            yield hold
        finally:
            hold.leave()

    async def _take(self, size: int) -> None:
        if not self._waiting and size <= self._free:
            self._free -= size
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, size))
        try:
            await turn
        except asyncio.CancelledError:
            # Its turn may have come in the same moment.
            self.give_back(0 if turn.cancelled() else size)
            raise

    def give_back(self, size: int) -> None:
        self._free += size
        while self._waiting:
            turn, wanted = self._waiting[0]
            if not turn.cancelled():
                if wanted > self._free:
                    return
                self._free -= wanted
                turn.set_result(None)
            self._waiting.popleft()


class Hold:
    """What one request holds."""

    def __init__(self, memory: ImageMemory, size: int) -> None:
        self._memory = memory
        self.size = size
        self._at_work: set[asyncio.Future[Any]] = set()
        self._left = False

    def shrink(self, size: int) -> None:
        """Give back what is over size."""
        over = max(0, self.size - size)
        self.size -= over
        self._memory.give_back(over)

    async def in_thread(self, threads: Threads, work: Callable[[], T]) -> T:
        """Run work, which uses the memory, on a thread. Where it has begun, the memory is held until it is done."""
        job = threads.start(work)
        self._at_work.add(job.done)
        job.done.add_done_callback(self._done)
        try:
            return await asyncio.shield(job.done)
        except asyncio.CancelledError:
            job.withdraw()
            raise
        finally:
            del job  # an error refers to this frame, and the job to the error

    def leave(self) -> None:
        self._left = True
        self._settle()

    def _done(self, work: asyncio.Future[Any]) -> None:
        self._at_work.discard(work)
        self._settle()

    def _settle(self) -> None:
        if self._left and not self._at_work:
            self.shrink(0)
