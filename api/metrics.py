"""What Prometheus is told besides BentoML's own metrics, and where both are kept."""

import logging
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from bentoml._internal.configuration.containers import BentoMLContainer
from prometheus_client import Counter, values
from prometheus_client.mmap_dict import MmapedDict

log = logging.getLogger("facebento.metrics")

_FIRST_BYTES = 1 << 16  # of prometheus_client's files
_ENTRY_BYTES = 64  # of one of their entries, at most, besides its name


class Requests:
    """Counters of requests. Their labels are of fixed sets, whatever clients send. One for each process.

    They are made with the first request: only a process that serves knows by then where its metrics are kept.
    """

    @cached_property
    def _answered(self) -> Counter:
        counter: Counter = BentoMLContainer.metrics_client.get().Counter(
            "facebento_requests",
            "Requests by endpoint, status of the answer (499: the client had gone), and name of the key (-: none)",
            ["endpoint", "status", "key"],
        )
        return counter

    @cached_property
    def _refused(self) -> Counter:
        counter: Counter = BentoMLContainer.metrics_client.get().Counter(
            "facebento_refusals",
            "Requests that were answered with an error, by its reason: the type of a 422, or the name of another error",
            ["reason"],
        )
        return counter

    def count(self, *, endpoint: str, status: int, key: str | None, reason: str) -> None:
        self._answered.labels(endpoint, str(status), key or "-").inc()
        if reason:
            self._refused.labels(reason).inc()


def survive_a_full_disk() -> None:
    """From here on, a metric that finds no place on the disk costs what it would have told, and nothing else.

    prometheus_client maps files with holes in them: where there is no room for a page that is written to, the system
    kills the process with SIGBUS. Each process of the service must call this before it has metrics.
    """
    if hasattr(os, "posix_fallocate") and hasattr(os, "memfd_create"):  # not on macOS
        values.MmapedDict = ReservedDict  # type: ignore[attr-defined]  # where it looks it up


class ReservedDict(MmapedDict):
    """prometheus_client's file of metrics, without holes; in memory, where nobody reads it, once the disk is full."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        if read_mode or _reserve(Path(filename)):
            super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]
        else:
            with _memory() as path:
                super().__init__(path)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        needed = self._used + len(key.encode()) + _ENTRY_BYTES
        size = self._capacity
        while size < needed:
            size *= 2
        if size > self._capacity:
            try:
                os.posix_fallocate(self._f.fileno(), 0, size)
            except OSError as error:
                _warn(Path(self._fname), error)
                self._move_to_memory()
        super()._init_value(key)  # type: ignore[no-untyped-call]

    def _move_to_memory(self) -> None:
        with _memory() as path:
            file = Path(path).open("a+b")  # noqa: SIM115  in use until the process ends
        file.truncate(self._capacity)
        copy = mmap.mmap(file.fileno(), self._capacity)
        copy[:] = self._m[:]
        self._m.close()
        self._f.close()
        self._f, self._m = file, copy


def _reserve(path: Path) -> bool:
    """Whether there is room for the file at its first size, or, where it is there, for all of it."""
    try:
        with path.open("ab") as file:
            size = os.fstat(file.fileno()).st_size
            os.posix_fallocate(file.fileno(), 0, max(size, _FIRST_BYTES))
    except OSError as error:
        _warn(path, error)
        if path.exists() and not path.stat().st_size:
            path.unlink()  # an empty one is more than /metrics can read
        return False
    return True


@contextmanager
def _memory() -> Iterator[str]:
    """A path to a new file in memory, to be opened in the block."""
    number = os.memfd_create("metrics")
    try:
        yield f"/proc/self/fd/{number}"
    finally:
        os.close(number)


def _warn(path: Path, error: OSError) -> None:
    log.warning("no room for metrics in %s (%s): /metrics tells less from here on", path, error.strerror)
