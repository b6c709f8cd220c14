"""Rows in shared memory: what is read is what was put there, nothing else can be read, and nothing is left behind."""

import asyncio
import fcntl
import mmap
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import uvloop
from numpy.typing import NDArray

from runners import shared
from runners.shared import PAGE, Arena, Arenas, NotSharedError

SHAPE = (2, 4, 3)
DESCRIPTOR = struct.Struct("<16sIIQQ")


def pictures(count: int, shape: tuple[int, ...] = SHAPE) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, *shape), np.uint8)


@pytest.fixture
def arena() -> Iterator[Arena]:
    made = Arena(8 * PAGE)
    yield made
    made.close()


def read(descriptor: bytes, shape: tuple[int, ...] = SHAPE) -> NDArray[np.uint8]:
    """As a runner that has just started reads it."""

    async def scenario() -> NDArray[np.uint8]:
        return Arenas().rows(descriptor, shape).copy()

    return asyncio.run(scenario())


def put(arena: Arena, rows: NDArray[np.uint8]) -> shared.Place:
    place = arena.put(rows)
    assert place is not None
    return place


def test_rows_are_read_as_they_were_put(arena: Arena) -> None:
    whole = pictures(8)
    for rows in (whole, whole[::2], np.asfortranarray(whole), whole[::-1], whole[:1]):
        with put(arena, rows) as descriptor:
            assert np.array_equal(read(descriptor), rows)


def test_rows_are_the_callers_memory_and_can_not_be_written(arena: Arena) -> None:
    async def scenario() -> None:
        arenas = Arenas()
        place = put(arena, pictures(1))
        rows = arenas.rows(place.descriptor, SHAPE)
        assert not rows.flags.writeable
        with place:
            pass
        again = put(arena, pictures(2)[1:])
        assert again.descriptor == place.descriptor
        assert np.array_equal(rows, pictures(2)[1:])
        assert len(arenas) == 1

    asyncio.run(scenario())


def test_places_do_not_overlap_and_are_given_back_in_any_order(arena: Arena) -> None:
    random = np.random.default_rng(0)
    held: list[tuple[shared.Place, NDArray[np.uint8]]] = []
    refused = 0
    for _ in range(500):
        rows = random.integers(0, 256, (int(random.integers(1, 600)), *SHAPE), np.uint8)
        place = arena.put(rows)
        if place is None:
            refused += 1
            place, _ = held.pop(int(random.integers(len(held))))
            place.__exit__()
        else:
            held.append((place, rows))
    assert refused
    for place, rows in held:
        assert np.array_equal(read(place.descriptor), rows)
        place.__exit__()
    assert arena._free == [(PAGE, 7 * PAGE)]


def test_what_finds_no_room_is_told(arena: Arena) -> None:
    whole = np.zeros(7 * PAGE, np.uint8)
    assert arena.put(np.zeros(7 * PAGE + 1, np.uint8)) is None
    with put(arena, whole):
        assert arena.put(pictures(1)) is None
    assert arena.put(whole) is not None


def test_rows_of_another_type_are_refused_and_take_no_place(arena: Arena) -> None:
    with pytest.raises(TypeError, match="float32"):
        arena.put(np.zeros((1, *SHAPE), np.float32))
    assert arena._free == [(PAGE, 7 * PAGE)]


def test_memory_that_is_short_is_no_room(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*_: int) -> None:
        raise OSError

    monkeypatch.setattr(os, "posix_fallocate", short)
    assert arena.put(pictures(1)) is None
    monkeypatch.undo()
    assert arena.put(pictures(1)) is not None


def test_memory_that_is_no_longer_used_goes_back_to_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "KEPT_BYTES", 2 * PAGE)
    arena = Arena(100 * PAGE)

    def pages() -> int:
        return os.fstat(arena._file).st_blocks * 512 // PAGE

    assert pages() == 1
    kept = put(arena, np.full(PAGE, 7, np.uint8))
    places = [put(arena, np.ones(PAGE, np.uint8)) for _ in range(50)]
    assert pages() == 52
    for place in places:
        place.__exit__()
    arena.trim()  # they were in use since the last time
    assert pages() == 52
    arena.trim()
    assert pages() == 2
    assert read(kept.descriptor, (PAGE,)).tolist() == [[7] * PAGE]
    again = put(arena, np.full(9 * PAGE, 5, np.uint8))
    arena.trim()
    assert read(again.descriptor, (9 * PAGE,)).tolist() == [[5] * 9 * PAGE]
    arena.close()


def test_memory_that_can_not_be_given_back_is_kept(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[int] = []

    class Kept(mmap.mmap):
        def madvise(self, option: int, start: int = 0, length: int = 0) -> None:  # noqa: ARG002
            tried.append(start)
            raise OSError("not here")

    monkeypatch.setattr(shared, "KEPT_BYTES", 2 * PAGE)
    monkeypatch.setattr("runners.shared.mmap.mmap", Kept)
    arena = Arena(8 * PAGE)
    monkeypatch.undo()
    put(arena, np.ones(3 * PAGE, np.uint8)).__exit__()
    monkeypatch.setattr(shared, "KEPT_BYTES", 2 * PAGE)
    for _ in range(3):
        arena.trim()
    assert tried == [2 * PAGE]
    assert caplog.text.count("can't be given back") == 1
    with put(arena, pictures(1)) as descriptor:
        assert np.array_equal(read(descriptor), pictures(1))
    arena.close()


def changed(descriptor: bytes, **parts: int | bytes) -> bytes:
    names = ("token", "process", "file", "start", "length")
    values = dict(zip(names, DESCRIPTOR.unpack(descriptor), strict=True)) | parts
    return DESCRIPTOR.pack(*values.values())


ROW = 24
HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "half": lambda told: told[:-1],
    "more": lambda told: told + b"!",
    "no rows": lambda told: changed(told, length=0),
    "part of a row": lambda told: changed(told, length=ROW - 1),
    "the header": lambda told: changed(told, start=0),
    "the end of the header": lambda told: changed(told, start=PAGE - 1),
    "beyond the end": lambda told: changed(told, start=8 * PAGE),
    "over the end": lambda told: changed(told, start=8 * PAGE - ROW + 1),
    "far away": lambda told: changed(told, start=2**64 - ROW),
    "too many": lambda told: changed(told, length=ROW * 2**59),
    "another token": lambda told: changed(told, token=b"x" * 16),
    "another process": lambda told: changed(told, process=os.getppid()),
    "no process": lambda told: changed(told, process=2**22 + 1),
    "process 0": lambda told: changed(told, process=0),
    "a process beyond all": lambda told: changed(told, process=2**32 - 1),
    "another file": lambda told: changed(told, file=2**31),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("known", [False, True])
def test_hostile_descriptors_are_refused(arena: Arena, change: Callable[[bytes], bytes], *, known: bool) -> None:
    async def scenario() -> None:
        arenas = Arenas()
        descriptor = put(arena, pictures(1)).descriptor
        if known:
            arenas.rows(descriptor, SHAPE)
        with pytest.raises(NotSharedError):
            arenas.rows(change(descriptor), SHAPE)

    asyncio.run(scenario())


def memfd(size: int, seals: int) -> int:
    file = os.memfd_create("facebento-rows", os.MFD_ALLOW_SEALING)
    os.ftruncate(file, size)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals)
    return file


def test_no_other_file_is_read(tmp_path: Path, arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each begins with the token that is told."""
    token = b"t" * 16
    secret = tmp_path / "secret"
    secret.write_bytes(token + bytes(8 * PAGE))
    shrinks = memfd(8 * PAGE, fcntl.F_SEAL_GROW)
    huge = memfd(shared.ARENA_BYTES + PAGE, fcntl.F_SEAL_SHRINK)
    small = memfd(PAGE, fcntl.F_SEAL_SHRINK)
    for each in (shrinks, huge, small):
        os.pwrite(each, token, 0)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    files = {
        "a file": os.open(secret, os.O_RDONLY),
        "a deleted file": os.open(secret, os.O_RDONLY),
        "a device": os.open("/dev/zero", os.O_RDONLY),
        "a folder": os.open(tmp_path, os.O_RDONLY),
        "a pipe": os.open(fifo, os.O_RDWR),
        "memory that may shrink": shrinks,
        "too large": huge,
        "too small": small,
    }
    descriptor = put(arena, pictures(1)).descriptor
    for what, file in files.items():
        if what == "a deleted file":
            secret.unlink()
        with pytest.raises(NotSharedError):
            read(changed(descriptor, token=token, file=file))
    # Were it another user's.
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(NotSharedError, match="user"):
        read(descriptor)
    for file in files.values():
        os.close(file)


def test_what_is_no_file_in_memory_is_not_even_opened(
    tmp_path: Path, arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To open a device may do things."""
    os.mkfifo(tmp_path / "fifo")
    fifo = os.open(tmp_path / "fifo", os.O_RDWR)
    descriptor = put(arena, pictures(1)).descriptor
    flags: list[int] = []
    system = os.open

    def told(path: str, how: int) -> int:
        flags.append(how)
        return system(path, how)

    monkeypatch.setattr(os, "open", told)
    with pytest.raises(NotSharedError):
        read(changed(descriptor, file=fifo))
    assert flags == [os.O_PATH | os.O_CLOEXEC]
    assert np.array_equal(read(descriptor), pictures(1))
    assert len(flags) == 3
    os.close(fifo)


def test_a_refused_descriptor_leaves_no_open_file(arena: Arena) -> None:
    descriptor = put(arena, pictures(1)).descriptor

    async def scenario() -> None:
        arenas = Arenas()
        before = psutil.Process().num_fds()
        for part in ({"token": b"x" * 16}, {"process": os.getppid()}, {"process": 2**32 - 1}, {"file": 2**31}):
            for _ in range(10):
                with pytest.raises(NotSharedError):
                    arenas.rows(changed(descriptor, **part), SHAPE)
        assert psutil.Process().num_fds() == before
        assert len(arenas) == 0

    asyncio.run(scenario())


def test_the_number_of_callers_is_bounded(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "MOST_ARENAS", 0)
    with pytest.raises(NotSharedError, match="many"):
        read(put(arena, pictures(1)).descriptor)


CALLER = """
import sys, time
import numpy as np
from runners.shared import Arena
arena = Arena()
print(arena.put(np.full((1, 640, 640, 3), 9, np.uint8)).descriptor.hex(), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_the_memory_of_a_caller_that_is_killed_is_let_go(loop: Any) -> None:
    def shared_bytes() -> int:
        return sum(each.rss for each in psutil.Process().memory_maps() if "facebento-rows" in each.path)

    async def scenario() -> None:
        before = shared_bytes()
        caller = subprocess.Popen(  # noqa: ASYNC220  it is read from at once
            [sys.executable, "-c", CALLER], stdout=subprocess.PIPE, text=True
        )
        assert caller.stdout is not None
        descriptor = bytes.fromhex(caller.stdout.readline())
        caller.stdout.close()
        arenas = Arenas()
        files = psutil.Process().num_fds()
        rows = arenas.rows(descriptor, (640, 640, 3))
        assert rows.min() == rows.max() == 9
        assert shared_bytes() - before >= 640 * 640 * 3
        caller.send_signal(signal.SIGKILL)
        caller.wait()
        async with asyncio.timeout(30):
            while len(arenas):  # noqa: ASYNC110  there is no event to wait for
                await asyncio.sleep(0.01)
        # What was in work is still there.
        assert rows.min() == rows.max() == 9
        del rows
        assert shared_bytes() == before
        assert psutil.Process().num_fds() == files
        with pytest.raises(NotSharedError):
            arenas.rows(descriptor, (640, 640, 3))

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())


def test_an_arena_can_not_shrink_under_its_readers(arena: Arena) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(arena._file, PAGE)
    with pytest.raises(PermissionError):
        os.ftruncate(arena._file, 1000 * PAGE)


def test_an_arena_that_is_closed_leaves_nothing() -> None:
    before = psutil.Process().num_fds()
    made = Arena()
    made.put(pictures(1))
    made.close()
    assert psutil.Process().num_fds() == before


def test_where_there_is_no_such_memory_there_is_no_arena(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    assert shared.open_arena() is None
