"""Rows in memory that a caller and a runner of one host share: written once, and not sent.

The caller owns an arena: a file in memory (memfd_create) without a name, which nobody but processes of the same user
can open, and which the kernel frees when the last process is done with it, however that ends. It is no part of
/dev/shm, whose size containers limit. A call names a place in it; the runner maps the arena once, read-only, by way of
/proc.

A place is free for the next call as soon as the call has ended in the caller, also where it was cancelled or its
connection broke, and the runner may still read it. That harms nobody: what it reads then, rows of another call or a
mixture, goes into the row's answer and into no other, and nobody is there to take that answer, for the connection it
would go to is closed. Any bytes are valid rows. A call that is tried again puts its rows into a place anew.
"""

import asyncio
import fcntl
import logging
import math
import mmap
import os
import secrets
import stat
import struct
from bisect import insort

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger("facebento.runners")

# Of 640 x 640 pixels, 217 canvases. Of the file, only what is in use takes memory; a call that finds no place is sent.
ARENA_BYTES = 256 * 1024**2
KEPT_BYTES = 16 * 1024**2  # that stay when nothing is in use: to get a page anew costs as much as to fill it
MOST_ARENAS = 256  # that a runner maps: one for each of its callers' processes
PAGE = mmap.PAGESIZE

# The arena's token, the caller's process and its number of the file there, where the rows begin, how many bytes.
_DESCRIPTOR = struct.Struct("<16sIIQQ")
_TOKEN = 16  # bytes, at the beginning of the file


class NotSharedError(Exception):
    """A descriptor that this runner does not follow: the caller is to send the rows themselves."""


class Place:
    """A part of an arena with rows in it, for as long as a call takes."""

    def __init__(self, arena: "Arena", start: int, length: int, descriptor: bytes) -> None:
        self._arena = arena
        self._range = (start, length)
        self.descriptor = descriptor

    def __enter__(self) -> bytes:
        return self.descriptor

    def __exit__(self, *_: object) -> None:
        self._arena.give_back(*self._range)


class Arena:
    """The caller's. Raises OSError where the system has no such memory."""

    def __init__(self, size: int = ARENA_BYTES) -> None:
        self._file = os.memfd_create("facebento-rows", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self._file, size)
            # A file that shrinks under a reader kills it (SIGBUS): the runner follows only what can't.
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            fcntl.fcntl(self._file, fcntl.F_ADD_SEALS, seals)
            self._memory = mmap.mmap(self._file, size)
        except OSError:
            os.close(self._file)
            raise
        self._token = secrets.token_bytes(_TOKEN)
        self._memory[:_TOKEN] = self._token
        self._free = [(PAGE, size - PAGE)]  # start and length, by start
        self._backed = PAGE  # up to where there are pages
        self._top = PAGE  # up to where places were in use since the last `trim`
        self._trims = True

    def put(self, rows: NDArray[np.uint8]) -> Place | None:
        """Copy the rows into it. None where there is no room. Raises TypeError for what is not uint8."""
        if rows.dtype != np.uint8:
            raise TypeError(f"rows are uint8, not {rows.dtype}")
        length = -(-rows.nbytes // PAGE) * PAGE
        index = next((i for i, (_, room) in enumerate(self._free) if room >= length), None)
        if index is None:
            return None
        start, room = self._free[index]
        if start + length > self._backed:
            try:
                os.posix_fallocate(self._file, self._backed, start + length - self._backed)
            except OSError:  # the system refuses it, and the rows are sent; a container's own limit is not told here
                return None
            self._backed = start + length
        self._free[index : index + 1] = [(start + length, room - length)] if room > length else []
        self._top = max(self._top, start + length)
        np.frombuffer(self._memory, np.uint8, rows.nbytes, start).reshape(rows.shape)[...] = rows
        descriptor = _DESCRIPTOR.pack(self._token, os.getpid(), self._file, start, rows.nbytes)
        return Place(self, start, length, descriptor)

    def give_back(self, start: int, length: int) -> None:
        insort(self._free, (start, length))
        merged: list[tuple[int, int]] = []
        for each in self._free:
            if merged and sum(merged[-1]) == each[0]:
                merged[-1] = (merged[-1][0], merged[-1][1] + each[1])
            else:
                merged.append(each)
        self._free = merged

    def trim(self) -> None:
        """Give the system back what lies above all that was in use since the last time."""
        keep = max(self._top, KEPT_BYTES)
        if self._backed > keep and self._trims:
            try:
                self._memory.madvise(mmap.MADV_REMOVE, keep, self._backed - keep)
            except OSError as error:
                self._trims = False
                log.warning("memory that was shared with a runner can't be given back, and is kept: %s", error)
            else:
                self._backed = keep
        last, room = self._free[-1] if self._free else (len(self._memory), 0)
        self._top = last if last + room == len(self._memory) else len(self._memory)

    def close(self) -> None:
        self._memory.close()
        os.close(self._file)


def open_arena() -> Arena | None:
    """None where the system has no such memory: then rows are sent."""
    try:
        return Arena()
    except (OSError, AttributeError) as error:  # the latter: not Linux
        log.info("rows are sent to the runners, since memory can't be shared: %s", error)
        return None


class Arenas:
    """The callers' arenas, as a runner sees them. Only for what came over a Unix socket."""

    def __init__(self) -> None:
        self._mapped: dict[tuple[bytes, int, int], mmap.mmap] = {}

    def rows(self, descriptor: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """uint8 [n, *shape] with n > 0, read-only: the caller's memory itself. Raises NotSharedError."""
        try:
            token, process, file, start, length = _DESCRIPTOR.unpack(descriptor)
        except struct.error:
            raise NotSharedError("That is no descriptor.") from None
        key = (token, process, file)
        memory = self._mapped.get(key)
        if memory is None:
            memory = self._map(*key)
        row = math.prod(shape)
        if not length or length % row or start < PAGE or start + length > len(memory):
            raise NotSharedError("That is no place of rows.")
        return np.frombuffer(memory, np.uint8, length, start).reshape(-1, *shape)

    def _map(self, token: bytes, process: int, file: int) -> mmap.mmap:
        if len(self._mapped) >= MOST_ARENAS:
            raise NotSharedError("Too many callers share memory with this runner.")
        try:
            life = os.pidfd_open(process)
        except (OSError, OverflowError) as error:
            raise NotSharedError(f"The caller's process is not seen: {error}") from None
        try:
            memory = _open(token, process, file)
        except (OSError, ValueError) as error:
            os.close(life)
            raise NotSharedError(f"The caller's memory can't be mapped: {error}") from None
        except NotSharedError:
            os.close(life)
            raise
        self._mapped[token, process, file] = memory
        # The memory of a caller that has ended would stay for as long as it is mapped here.
        asyncio.get_running_loop().add_reader(life, self._ended, (token, process, file), life)
        return memory

    def _ended(self, key: tuple[bytes, int, int], life: int) -> None:
        asyncio.get_running_loop().remove_reader(life)
        os.close(life)
        # Not closed: rows in work may still be read. It goes with the last of them.
        self._mapped.pop(key, None)

    def __len__(self) -> int:
        return len(self._mapped)


def _open(token: bytes, process: int, file: int) -> mmap.mmap:
    """Map the file of another process, if it is an arena with that token.

    Raises OSError, ValueError, NotSharedError.
    """
    # Only looked at: to open something else for reading, a device say, may do things.
    seen = os.open(f"/proc/{process}/fd/{file}", os.O_PATH | os.O_CLOEXEC)
    try:
        told = os.fstat(seen)
        if not stat.S_ISREG(told.st_mode) or told.st_uid != os.geteuid():
            raise NotSharedError("That is no memory of this user.")
        opened = os.open(f"/proc/self/fd/{seen}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(seen)
    try:
        # Of a file on a disk this is an error.
        if not fcntl.fcntl(opened, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK:
            raise NotSharedError("That memory may shrink.")
        size = os.fstat(opened).st_size
        if size > ARENA_BYTES or os.pread(opened, _TOKEN, 0) != token:
            raise NotSharedError("That is not the caller's memory.")
        return mmap.mmap(opened, size, prot=mmap.PROT_READ)
    finally:
        os.close(opened)
