"""Metrics on a disk that is full: in processes of their own, which a page without room would kill."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict

from exposition import ReservedDict

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reserves room on Linux only")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(["mount", *options], capture_output=True, check=False)  # noqa: S607
    except FileNotFoundError:
        pytest.skip("mount is not installed")
    if mounted.returncode:
        pytest.skip("mounting a file system takes root")
    yield folder
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
