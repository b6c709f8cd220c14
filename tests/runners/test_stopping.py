"""A runner's process goes on serving after SIGTERM until its callers are gone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runners.stopping import GRACE_S, _Later, callers

# A runner's process as far as signals go: as with uvicorn, its own handler only makes a note that it is to end.
RUNNER = """
import pathlib, signal, sys, time
from runners.stopping import leave_last
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append("leave"))
leave_last({"detector", "embedder"}, socket=pathlib.Path(sys.argv[2]), at_most_s=float(sys.argv[1]))
print("serving", flush=True)
while not told:
    time.sleep(0.05)
"""
SLEEP = "import time; time.sleep(60)"


@contextmanager
def sibling(name: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process of this process that looks like BentoML's for the service of that name."""
    process = subprocess.Popen([sys.executable, "-c", SLEEP, "--service-name", name])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def runner(at_most_s: float, socket: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", RUNNER, str(at_most_s), str(socket), "--service-name", "detector"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "serving\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def deleted(tmp_path: Path) -> Path:
    """The socket of a runner whose service is stopping as a whole."""
    return tmp_path / "deleted.sock"


def still_there(process: "subprocess.Popen[str]") -> bool:
    time.sleep(0.5)
    return process.poll() is None


def test_callers_are_the_siblings_that_are_no_runners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getppid", os.getpid)
    with sibling("facebento") as api, sibling("embedder"):
        assert callers({"detector", "embedder"}) == [api.pid]


def test_a_runner_waits_for_its_callers(deleted: Path) -> None:
    with sibling("facebento") as api, runner(60, deleted) as process:
        process.send_signal(signal.SIGTERM)
        assert still_there(process)
        api.kill()
        api.wait()
        assert process.wait(30) == 0


def test_a_runner_without_callers_leaves_at_once(deleted: Path) -> None:
    with runner(60, deleted) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_a_runner_that_is_replaced_while_its_callers_stay_leaves(tmp_path: Path) -> None:
    with sibling("facebento"), runner(60, tmp_path) as process:  # what is still there stands for the socket
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_a_socket_that_is_deleted_just_after_the_signal_counts(tmp_path: Path) -> None:
    socket = tmp_path / "late.sock"
    socket.touch()
    with sibling("facebento"), runner(60, socket) as process:
        process.send_signal(signal.SIGTERM)
        time.sleep(GRACE_S / 4)
        socket.unlink()
        time.sleep(GRACE_S)
        assert process.poll() is None


def test_a_second_sigterm_changes_nothing_and_a_second_sigint_ends_the_wait(deleted: Path) -> None:
    with sibling("facebento"), runner(60, deleted) as process:
        process.send_signal(signal.SIGTERM)
        assert still_there(process)
        process.send_signal(signal.SIGTERM)
        assert still_there(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_the_wait_has_an_end(deleted: Path) -> None:
    with sibling("facebento"), runner(0.2, deleted) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_a_runner_leaves_also_where_its_siblings_can_not_be_seen(
    deleted: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    left: list[int] = []
    monkeypatch.setattr(os, "getppid", lambda: 0)
    before = signal.getsignal(signal.SIGUSR1)
    later = _Later(lambda number, _: left.append(number), {"detector"}, deleted, 60)
    later(signal.SIGUSR1, None)
    end = time.monotonic() + 30
    while not left and time.monotonic() < end:
        time.sleep(0.02)
    assert left == [signal.SIGUSR1]
    assert "could not wait" in caplog.text
    assert signal.getsignal(signal.SIGUSR1) == before
