"""Runners leave last: how nothing that is in flight is lost on SIGTERM."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

log = logging.getLogger("facebento.runners")

POLL_S = 0.1
GRACE_S = 1.0  # for BentoML to delete its sockets, where a supervisor signals all processes before it can


def leave_last(names: AbstractSet[str], *, socket: Path | None, at_most_s: float) -> None:
    """On SIGTERM and SIGINT, keep this runner's process serving until its callers are done.

    `bentoml serve` signals all its processes at once. Requests that the API process still has in work would find the
    runners gone; it ends by itself when the last of them is answered, and then the runners may. A second SIGINT, or
    at_most_s, ends the wait; a second SIGTERM does not, since some supervisors and `bentoml serve` send one each.

    names: of the services that are runners; the others among this process's siblings are the callers.
    socket: this runner's Unix socket. `bentoml serve` deletes it when it stops as a whole; while it is there, only this
    runner is being replaced, and the callers stay. None, of a runner on TCP: it can't be told, and it leaves at once.

    To be called in the main thread once the server has installed its own handlers.
    """
    later = _Later(signal.getsignal(signal.SIGTERM), names, socket, at_most_s)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, later)


class _Later:
    """A signal handler that calls the server's own later."""

    def __init__(
        self,
        leave: Any,
        names: AbstractSet[str],
        socket: Path | None,
        at_most_s: float,
    ) -> None:
        self._leave = leave
        self._names = names
        self._socket = socket
        self._at_most_s = at_most_s
        self._waiting = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self._waiting:
            self._waiting = True
            threading.Thread(target=self._wait, args=(number,), daemon=True).start()
        elif number == signal.SIGINT:
            self._leave(number, frame)

    def _wait(self, number: int) -> None:
        try:
            if self._socket and _until(lambda: not self._socket_is_there(), GRACE_S):
                _until(lambda: not callers(self._names), self._at_most_s)
        except Exception:
            log.exception("could not wait for the callers")
        finally:
            self._leave(number, None)

    def _socket_is_there(self) -> bool:
        return self._socket is not None and self._socket.exists()


def _until(done: Callable[[], bool], seconds: float) -> bool:
    """Wait for it, at most this long; whether it came."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(POLL_S)
    return True


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
