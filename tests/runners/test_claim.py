"""Devices that processes of a runner have to themselves."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runners.claim import claim

HOLDER = """
import os, sys, time
from pathlib import Path
from runners.claim import claim
os.getppid = lambda: int(sys.argv[2])
print(claim([0, 1], "detector", Path(sys.argv[1]), at_most_s=0), flush=True)
time.sleep(60)
"""


def holder(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """Another process with the same parent, and the place that it has claimed."""
    started = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), str(os.getppid())], stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    with started.stdout:
        return started, started.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_processes_have_a_device_each_and_the_next_one_has_that_of_the_dead(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, place = holder(tmp_path)
    assert place == "0"
    assert claim([0, 1], "detector", tmp_path, at_most_s=0) == 1
    assert claim([0, 1], "detector", tmp_path, at_most_s=0) is None
    assert "one has two now" in caplog.text
    # Another runner has its own process on each.
    assert claim([0, 1], "embedder", tmp_path, at_most_s=0) == 0
    ends = threading.Timer(0.3, end, (first,))
    ends.start()
    assert claim([0, 1], "detector", tmp_path, at_most_s=30) == 0
    ends.join()


def test_where_nothing_can_be_locked_nothing_is_claimed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert claim([0, 1], "detector", tmp_path / "missing", at_most_s=30) is None
    assert "by the number of the process" in caplog.text


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / f"facebento-{os.getppid()}-detector-cuda-0").symlink_to(tmp_path / "elsewhere")
    assert claim([0], "detector", tmp_path, at_most_s=0) is None
    assert not (tmp_path / "elsewhere").exists()
