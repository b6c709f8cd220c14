"""A runner's process goes on serving after SIGTERM until its callers are gone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from runners.stopping import callers

# A runner's process as far as signals go: as with uvicorn, its own handler only makes a note that it is to end.
RUNNER = """
import signal, sys, time
from runners.stopping import leave_last
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append("leave"))
leave_last({"detector", "embedder"}, at_most_s=float(sys.argv[1]))
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
def runner(at_most_s: float) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", RUNNER, str(at_most_s), "--service-name", "detector"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "serving\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def still_there(process: "subprocess.Popen[str]") -> bool:
    time.sleep(0.5)
    return process.poll() is None


def test_callers_are_the_siblings_that_are_no_runners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getppid", os.getpid)
    with sibling("facebento") as api, sibling("embedder"):
        assert callers({"detector", "embedder"}) == [api.pid]


def test_a_runner_waits_for_its_callers() -> None:
    with sibling("facebento") as api, runner(60) as process:
        process.send_signal(signal.SIGTERM)
        assert still_there(process)
        api.kill()
        api.wait()
        assert process.wait(5) == 0


def test_a_runner_without_callers_leaves_at_once() -> None:
    with runner(60) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0


def test_a_second_signal_ends_the_wait() -> None:
    with sibling("facebento"), runner(60) as process:
        process.send_signal(signal.SIGTERM)
        assert still_there(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0


def test_the_wait_has_an_end() -> None:
    with sibling("facebento"), runner(0.2) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
