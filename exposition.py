"""What /metrics tells: the counts of all processes of the service, and where they are kept."""

import fcntl
import mmap
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging import getLogger
from pathlib import Path
from typing import Any

import psutil
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.server.metrics.prometheus import PrometheusClient
from prometheus_client import CollectorRegistry, Counter, Gauge, Metric, generate_latest, values
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

log = getLogger("facebento.metrics")

STARTED = "facebento_process_start_time_seconds"  # a gauge of each process, by which it is told what it is
ENDED = 0  # stands for the number of a process in the files of all that have ended
FOLDER = "facebento_metrics"  # in BENTOML_HOME
_FIRST_BYTES = 1 << 16  # of prometheus_client's files
_ENTRY_BYTES = 64  # of one of their entries, at most, besides its name
_CLOCK_S = 60.0  # that a host's clock may have been set since a process began


def install() -> None:
    """Have this process keep its metrics here, and tell them so. Each process of the service must call it before it
    has metrics.
    """
    survive_a_full_disk()
    BentoMLContainer.metrics_client.set(Metrics())
    if values.ValueClass._multiprocess:  # noqa: SLF001  not so in the process that starts the others
        _leave_the_common_folder()
        Processes().sweep()


def make_folder() -> None:
    """Make a folder for the metrics of the service whose processes this one is about to start, and remove those of
    services that have ended.

    BentoML has one for all services of a BENTOML_HOME, and empties it when one starts: the others would tell that
    one's counts from then on, or nothing.
    """
    folder = _folder(os.getpid())
    for each in folder.parent.glob(f"{platform.node()}-*"):
        number = int(each.name.rpartition("-")[2])
        # Processes may outlive the one that started them, where that was killed.
        if number == os.getpid() or not (psutil.pid_exists(number) or any(map(_lives, each.glob("*.db")))):
            shutil.rmtree(each, ignore_errors=True)
    with suppress(OSError):  # the processes will find that, too, and say so
        folder.mkdir(parents=True, exist_ok=True)


def _folder(starter: int) -> Path:
    """starter: the number of the process that starts those of the service."""
    return Path(BentoMLContainer.bentoml_home.get(), FOLDER, f"{platform.node()}-{starter}")


def _leave_the_common_folder() -> None:
    common = Path(BentoMLContainer.prometheus_multiproc_dir.get()).absolute()
    if Path(Processes()._path) != common:  # noqa: SLF001  as the environment has it
        return
    own = _folder(os.getppid())
    try:
        own.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _warn(own, error)
    else:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(own)


def begin(process: str) -> None:
    """Tell that this process is there: `api`, or the name of the runner that it is. Once in a process."""
    began = Gauge(STARTED, "When a process began, in Unix time", ["process"], multiprocess_mode="liveall")
    began.labels(process).set(psutil.Process().create_time())
    starts = Counter("facebento_process_starts", "Processes that began since the service did", ["process"])
    starts.labels(process).inc()


class Metrics(PrometheusClient):
    """BentoML's, which answers /metrics with what it generates."""

    def generate_latest(self) -> bytes:
        registry = CollectorRegistry()
        registry.register(Processes())
        return generate_latest(registry)

    def __del__(self) -> None:
        """BentoML's own removes files, and fails in a process that had none. Those of the dead are not read here."""


class Processes(MultiProcessCollector, Collector):
    """What the files of all processes hold, but for the gauges of those that have ended; and what the living use.

    prometheus_client wants to be told which have ended. BentoML does not tell it of one that was killed, and what that
    had in work would be in work for ever.
    """

    def __init__(self) -> None:
        super().__init__(None)  # type: ignore[no-untyped-call]

    def sweep(self) -> None:
        """Remove the files of those that have ended, of one that had this process's number among them, and keep what
        they counted in one file for all of them. Before this process has metrics.

        Else a process that dies again and again fills the disk, and each answer takes longer than the one before.
        """
        with self._locked(fcntl.LOCK_EX):
            for file in self._files():
                kind, _, number = file.stem.rpartition("_")
                if int(number) == ENDED or (int(number) != os.getpid() and _lives(file)):
                    continue
                if not kind.startswith("gauge_"):
                    _add(file, file.with_name(f"{kind}_{ENDED}.db"))
                file.unlink(missing_ok=True)

    def collect(self) -> Iterator[Metric]:
        with self._locked(fcntl.LOCK_SH):
            files = [file for file in self._files() if not file.stem.startswith("gauge_") or _lives(file)]
            # By name: which of several files is read first must not change what is told.
            metrics: list[Metric] = list(self.merge(map(str, sorted(files))))  # type: ignore[no-untyped-call]
        for metric in metrics:
            yield metric
            if metric.name == STARTED:
                yield from _usage(metric)

    def _files(self) -> Iterator[Path]:
        """Those that can be read."""
        for file in Path(self._path).glob("*.db"):
            with suppress(FileNotFoundError):
                if file.stat().st_size:  # else it is just being made
                    yield file

    @contextmanager
    def _locked(self, operation: int) -> Iterator[None]:
        """With the folder's lock: what is being put together must not be read twice."""
        folder = os.open(self._path, os.O_RDONLY)
        try:
            with suppress(OSError):  # where there are no locks, as on some NFS, it is read twice at the worst
                fcntl.flock(folder, operation)
            yield
        finally:
            os.close(folder)


def _add(ended: Path, total: Path) -> None:
    """Add what a process had counted to what others had."""
    kept: Any = values.MmapedDict(str(total))  # type: ignore[attr-defined,no-untyped-call]  # see above
    try:
        for key, value, _, _ in MmapedDict.read_all_values_from_file(str(ended)):  # type: ignore[no-untyped-call]
            kept.write_value(key, kept.read_value(key)[0] + value, 0.0)
    finally:
        kept.close()


def _lives(file: Path) -> bool:
    """Whether the process that wrote it is still there."""
    number = int(file.stem.rpartition("_")[2])
    try:
        process = psutil.Process(number)
        began: float = process.create_time()
        return began < file.stat().st_mtime + _CLOCK_S and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, FileNotFoundError):
        return False


def _usage(started: Metric) -> Iterator[Metric]:
    """What each of the processes uses."""
    labels = ["process", "pid"]
    memory = GaugeMetricFamily(
        "facebento_process_resident_memory_bytes", "Memory of a process, with what it shares with others", labels=labels
    )
    cpu = CounterMetricFamily("facebento_process_cpu_seconds", "CPU time of a process", labels=labels)
    files = GaugeMetricFamily(
        "facebento_process_open_fds", "Files and connections that a process has open", labels=labels
    )
    for sample in started.samples:
        names = [sample.labels[label] for label in labels]
        with suppress(psutil.Error):  # it may end meanwhile
            process = psutil.Process(int(sample.labels["pid"]))
            spent = process.cpu_times()
            memory.add_metric(names, process.memory_info().rss)
            cpu.add_metric(names, spent.user + spent.system)
            files.add_metric(names, process.num_fds())
    yield from (memory, cpu, files)


def survive_a_full_disk() -> None:
    """From here on, a metric that finds no place on the disk costs what it would have told, and nothing else.

    prometheus_client maps files with holes in them: where there is no room for a page that is written to, the system
    kills the process with SIGBUS.
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
                _fill(f"/proc/self/fd/{self._f.fileno()}", size)
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
        path.touch()
        _fill(path, max(path.stat().st_size, _FIRST_BYTES))
    except OSError as error:
        _warn(path, error)
        if path.exists() and not path.stat().st_size:
            path.unlink()  # an empty one is more than /metrics can read
        return False
    return True


def _fill(path: str | Path, size: int) -> None:
    """Have the file take that much of the disk. Raises OSError where there is no room.

    By a descriptor of its own: where a file system can't reserve (NFS before 4.2), glibc writes instead, which it
    refuses to do through one that appends, as prometheus_client's does.
    """
    with Path(path).open("r+b", buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, size)


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
