"""Metrics of several processes, of which some are killed; and on a disk that is full. In processes of their own."""

import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict

import exposition
from exposition import ReservedDict

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reserves room on Linux only")


# A process that has something in work, until it is killed; and its parent, which reads what both tell. Before that, a
# process that had the parent's number was killed.
KILLING = """
import json, os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from prometheus_client import Counter, Gauge
import exposition
folder = Path({folder!r})
before = exposition.ReservedDict(str(folder / f"gauge_livesum_{{os.getpid()}}.db"))
before.write_value('["working", "working", {{}}, "Working"]', 100.0, 0.0)
before.close()
exposition.install()
working = Gauge("working", "Working", multiprocess_mode="livesum")
ended = Counter("ended", "Ended")
def told():
    return exposition.Metrics().generate_latest().decode().splitlines()
ready, begun = os.pipe()
child = os.fork()
if not child:
    exposition.begin("detector")
    working.set(3)
    ended.inc(5)
    os.write(begun, b"1")
    signal.pause()
os.read(ready, 1)
try:
    exposition.begin("api")
    working.inc(2)
    ended.inc()
    (folder / "counter_1.db").touch()  # one that is just being made
    first = told()
finally:
    os.kill(child, signal.SIGKILL)
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has taken note of it
second = told()
if not (next := os.fork()):
    exposition.install()  # as the process that takes the place of the child does it
    os._exit(0)
os.waitpid(next, 0)
files = [each.name.replace(f"_{{child}}.", "_child.") for each in folder.iterdir()]
print(json.dumps([first, second, files, told()]))
os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """The lines of /metrics before one of two processes was killed, those right after that, and the files and the lines
    when another has begun.
    """
    folder = tmp_path_factory.mktemp("metrics")
    ended = subprocess.run(
        [sys.executable, "-c", KILLING.format(root=str(ROOT), folder=str(folder))],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found: list[list[str]] = json.loads(ended.stdout)
    return found


def test_gauges_and_counts_are_those_of_all_processes(told: list[list[str]]) -> None:
    assert {"working 5.0", "ended_total 6.0"} <= set(told[0])


def test_what_a_killed_process_had_in_work_is_no_longer_told_and_what_it_did_is(
    told: list[list[str]],
) -> None:
    assert {"working 2.0", "ended_total 6.0"} <= set(told[1])
    assert 'facebento_process_starts_total{process="detector"} 1.0' in told[1]


def test_the_next_process_removes_the_files_of_the_killed_one_and_keeps_its_counts(told: list[list[str]]) -> None:
    assert [file for file in told[2] if "_child" in file] == []
    assert "counter_0.db" in told[2]
    assert {"working 2.0", "ended_total 6.0"} <= set(told[3])


def test_however_many_processes_end_there_is_one_file_of_theirs(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ENDING.format(root=str(ROOT), folder=str(tmp_path))],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout == "5.0\n", ended.stderr
    assert [each.name.startswith("counter_") for each in tmp_path.iterdir()] == [True, True]


@pytest.mark.parametrize(
    "name",
    [
        "facebento_process_start_time_seconds",
        "facebento_process_resident_memory_bytes",
        "facebento_process_cpu_seconds_total",
        "facebento_process_open_fds",
    ],
)
def test_each_process_that_lives_is_told_with_what_it_uses(told: list[list[str]], name: str) -> None:
    def processes(lines: list[str]) -> list[str]:
        found = [re.fullmatch(rf'{name}{{.*process="(\w+)".*}} (\S+)', line) for line in lines]
        return sorted(each[1] for each in found if each and float(each[2]) >= 0)

    assert processes(told[0]) == ["api", "detector"]
    assert processes(told[1]) == ["api"]


def test_a_process_that_took_the_number_of_one_that_ended_is_another(tmp_path: Path) -> None:
    file = tmp_path / f"counter_{os.getpid()}.db"
    file.touch()
    assert exposition._lives(file)
    os.utime(file, (0, time.time() - 1e6))
    assert not exposition._lives(file)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    with mounted_on(tmp_path, "tmpfs", "-o", "size=256k") as folder:
        yield folder


@pytest.fixture
def disk_that_reserves_nothing(tmp_path: Path) -> Iterator[Path]:
    """A file system without fallocate(2), as of NFS before 4.2."""
    with mounted_on(tmp_path, "ramfs") as folder:
        yield folder


@contextmanager
def mounted_on(tmp_path: Path, kind: str, *options: str) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mounted = subprocess.run(["mount", "-t", kind, *options, kind, str(folder)], capture_output=True, check=False)  # noqa: S607
    except FileNotFoundError:
        pytest.skip("mount is not installed")
    if mounted.returncode:
        pytest.skip("mounting a file system takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607


COUNTING = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from prometheus_client import Counter, CollectorRegistry, generate_latest, multiprocess
import exposition
if {reserve}:
    exposition.survive_a_full_disk()
folder = Path({folder!r})
def fill():
    with (folder / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
{before}
counter = Counter("requests", "Requests", ["path"])
for number in range(200):
    counter.labels(f"/{{number}}").inc()
{between}
for number in range(200, 4000):
    counter.labels(f"/{{number}}").inc()
for number in range(4000):
    counter.labels(f"/{{number}}").inc()
    assert counter.labels(f"/{{number}}")._value.get() == 2
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
print(generate_latest(registry).decode().count("requests_total{{"))
"""


def count(
    folder: Path, *, reserve: bool = True, before: str = "", between: str = ""
) -> "subprocess.CompletedProcess[str]":
    code = COUNTING.format(root=str(ROOT), reserve=reserve, folder=str(folder), before=before, between=between)
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_with_room_everything_is_told(tmp_path: Path) -> None:
    assert count(tmp_path).stdout == "4000\n"


@pytest.mark.parametrize(("when", "told"), [("before", 0), ("between", 200)])
def test_a_full_disk_costs_metrics_and_not_the_process(small_disk: Path, when: str, told: int) -> None:
    fill = {"before": "", "between": "", when: "fill()"}
    ended = count(small_disk, before=fill["before"], between=fill["between"])
    assert ended.returncode == 0, ended.stderr
    # What has found no room before it was full is missing, and the rest is still read.
    assert told <= int(ended.stdout) < 4000
    assert "no room for metrics" in ended.stderr


def test_a_disk_that_is_too_small_for_all_of_it_is_used_as_far_as_it_goes(small_disk: Path) -> None:
    ended = count(small_disk)
    assert ended.returncode == 0, ended.stderr
    assert 1000 < int(ended.stdout) < 4000


def test_where_nothing_can_be_reserved_everything_is_told(disk_that_reserves_nothing: Path) -> None:
    ended = count(disk_that_reserves_nothing)
    assert (ended.stdout, ended.stderr) == ("4000\n", "")


def test_without_this_the_process_would_be_killed(small_disk: Path) -> None:
    assert count(small_disk, reserve=False, before="fill()").returncode < 0


def test_the_file_has_no_holes_and_is_one_that_prometheus_client_reads(tmp_path: Path) -> None:
    file = tmp_path / "counter_1.db"
    made = ReservedDict(str(file))
    for number in range(1000):
        made.write_value(f'["requests", "requests_total", {{"path": "/{number}"}}, "Requests"]', number, 0.0)  # type: ignore[no-untyped-call]
    status = file.stat()
    assert status.st_size > 65536
    assert status.st_blocks * 512 >= status.st_size
    values = [value for _, value, _, _ in MmapedDict.read_all_values_from_file(str(file))]  # type: ignore[no-untyped-call]
    assert values == list(range(1000))
    made.close()  # type: ignore[no-untyped-call]
    again = ReservedDict(str(file))
    assert len(list(again.read_all_values())) == 1000  # type: ignore[no-untyped-call]
    again.close()  # type: ignore[no-untyped-call]


# A process that starts those of a service, as BentoML does it, and the one that it starts: that tells /metrics for each
# line that it reads.
STARTING = """
import os, sys
sys.path.insert(0, {root!r})
from bentoml.serving import ensure_prometheus_dir
import exposition
ensure_prometheus_dir()
exposition.make_folder()
if worker := os.fork():
    sys.exit(os.waitpid(worker, 0)[1])
exposition.install()
exposition.begin("api")
for _ in sys.stdin:
    print(exposition.Metrics().generate_latest().decode().count(exposition.STARTED + "{{"), flush=True)
"""


# Five processes, each of which ends before the next one begins; only the last has a file besides the common one.
ENDING = """
import os, sys
sys.path.insert(0, {root!r})
from prometheus_client import Counter, Histogram
import exposition
for _ in range(5):
    child = os.fork()
    if not child:
        exposition.install()
        Counter("ended", "Ended").inc()
        os._exit(0)
    os.waitpid(child, 0)
lines = exposition.Metrics().generate_latest().decode().splitlines()
print(*(line.rpartition(" ")[2] for line in lines if line.startswith("ended_total")))
"""


class Starter:
    def __init__(self, home: Path) -> None:
        common = home / "prometheus_multiproc_dir"
        self._process = subprocess.Popen(
            [sys.executable, "-c", STARTING.format(root=str(ROOT))],
            env={**os.environ, "BENTOML_HOME": str(home), "PROMETHEUS_MULTIPROC_DIR": str(common)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.name = f"{platform.node()}-{self._process.pid}"

    def tells(self) -> int:
        """Of how many processes."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def kill(self) -> None:
        """The starter alone."""
        self._process.kill()
        self._process.wait(10)

    def end(self) -> None:
        self._process.communicate(timeout=30)


def test_services_of_one_home_tell_each_of_its_own_processes(tmp_path: Path) -> None:
    with ExitStack() as running:
        first = Starter(tmp_path)
        running.callback(first.end)
        assert first.tells() == 1
        second = Starter(tmp_path)
        running.callback(second.end)
        assert (second.tells(), first.tells()) == (1, 1)
        first.end()
        third = Starter(tmp_path)
        running.callback(third.end)
        assert third.tells() == 1
        folders = tmp_path / exposition.FOLDER
        assert {each.name for each in folders.iterdir()} == {second.name, third.name}
        # A process that outlives the one that started it keeps its metrics.
        second.kill()
        fourth = Starter(tmp_path)
        running.callback(fourth.end)
        assert (fourth.tells(), second.tells()) == (1, 1)
