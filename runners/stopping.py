"""Runners leave last: how nothing that is in flight is lost on SIGTERM."""

import os
import signal
import threading
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from types import FrameType
from typing import Any

import psutil

POLL_S = 0.1


def leave_last(names: AbstractSet[str], *, at_most_s: float) -> None:
    """On SIGTERM and SIGINT, keep this runner's process serving until its callers are done.

    `bentoml serve` signals all its processes at once. Requests that the API process still has in work would find the
    runners gone; it ends by itself when the last of them is answered, and then the runners may. A second signal, or
    at_most_s, ends the wait.

    names: of the services that are runners; the others among this process's siblings are the callers. To be called
    in the main thread once the server has installed its own handlers.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        leave = signal.getsignal(number)
        if callable(leave):
            signal.signal(number, _Later(leave, names, at_most_s))


class _Later:
    """A signal handler that calls another one later."""

    def __init__(
        self, leave: Callable[[int, FrameType | None], Any], names: AbstractSet[str], at_most_s: float
    ) -> None:
        self._leave = leave
        self._names = names
        self._at_most_s = at_most_s
        self._waiting = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._waiting:
            self._leave(number, frame)
            return
        self._waiting = True
        threading.Thread(target=self._wait, args=(number,), daemon=True).start()

    def _wait(self, number: int) -> None:
        end = time.monotonic() + self._at_most_s
        while time.monotonic() < end and callers(self._names):
            time.sleep(POLL_S)
        self._leave(number, None)


def callers(names: AbstractSet[str]) -> list[int]:
    """The process ids of this process's siblings that serve a BentoML service of another name."""
    found = []
    for process in psutil.Process(os.getppid()).children():
        try:
            words = process.cmdline()
        except psutil.Error:  # it ended meanwhile
            continue
        if "--service-name" in words and words[words.index("--service-name") + 1] not in names:
            found.append(process.pid)
    return found
