"""/v1/health asked ten times a second, on a connection of its own and from a process of its own.

From a process of its own, so that the times are the service's, not those of a client busy with its load.
"""

import http.client
import multiprocessing
import signal
import time
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

from bench.client import Address
from bench.report import Report, percentile

PERIOD_S = 0.1


class HealthProbe:
    """Asks while the block runs. After it: `seconds` of each answer, and `failures`, answers that were no 200."""

    def __init__(self, address: Address) -> None:
        self.seconds: list[float] = []
        self.failures = 0
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_ask, args=(address, theirs), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        self._ours.recv()  # it has begun
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._ours.send(None)
            if self._ours.poll(40):
                self.seconds, self.failures = self._ours.recv()
        except (OSError, EOFError):  # Ctrl-C reached it first
            pass
        finally:
            self._process.terminate()
            self._process.join()

    def tell(self, report: Report, part: str, *, limit_s: float | None = None) -> None:
        """p50, p99 and the longest, in ms."""
        for name, percent in (("p50", 50), ("p99", 99), ("longest", 100)):
            value = 1000 * percentile(self.seconds, percent)
            if percent == 99 and limit_s is not None:
                report.at_most(part, f"/v1/health {name}, ms", value, 1000 * limit_s)
            else:
                report.tell(part, f"/v1/health {name}, ms", value)
        report.at_most(part, "/v1/health failed", self.failures, 0)


def _ask(address: Address, caller: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the caller as well, who ends this
    seconds: list[float] = []
    failures = 0
    connection = http.client.HTTPConnection(address.host, address.port, timeout=30)
    caller.send(None)
    due = time.perf_counter()
    while not caller.poll(max(0.0, due - time.perf_counter())):
        due = max(due + PERIOD_S, time.perf_counter())
        start = time.perf_counter()
        try:
            connection.request("GET", "/v1/health")
            response = connection.getresponse()
            response.read()
            failures += response.status != 200
        except (OSError, http.client.HTTPException):
            connection.close()
            failures += 1
        seconds.append(time.perf_counter() - start)
    caller.send((seconds, failures))
