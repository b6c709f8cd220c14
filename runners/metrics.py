"""What Prometheus is told of the runners: by the processes that run the models, and by those that call them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from prometheus_client import Counter, Gauge, Histogram

from runners.errors import RunnerError, RunnerTimeoutError
from runners.onnx import Placement

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Runs:
    """Of the models in this process, whoever calls them."""

    def __init__(self) -> None:
        self._rows = Histogram(
            "facebento_batch_rows", "Rows (canvases, crops) that a model was given at once", ["runner"], buckets=ROWS
        )
        self._seconds = Histogram(
            "facebento_batch_duration_seconds", "Of a model with what it was given at once", ["runner"], buckets=SECONDS
        )
        self._info = Gauge(
            "facebento_runner_info",
            "How many processes run the model so: the device, onnxruntime's provider and the precision of the network",
            ["runner", "device", "provider", "precision"],
            multiprocess_mode="livesum",
        )

    def begin(self, runner: str, placement: Placement) -> None:
        self._info.labels(runner, placement.device, placement.provider, placement.precision).inc()

    def ran(self, runner: str, rows: int, seconds: float) -> None:
        self._rows.labels(runner).observe(rows)
        self._seconds.labels(runner).observe(seconds)


class Queue:
    """Of the calls that wait for a batch, in a runner's own process."""

    def __init__(self) -> None:
        self._calls = Gauge(
            "facebento_runner_queue_calls", "Calls that wait for a batch", ["runner"], multiprocess_mode="livesum"
        )
        self._seconds = Histogram(
            "facebento_runner_queue_seconds", "That a call waited for a batch", ["runner"], buckets=SECONDS
        )

    def waits(self, runner: str, calls: int) -> None:
        self._calls.labels(runner).set(calls)

    def waited(self, runner: str, seconds: float) -> None:
        self._seconds.labels(runner).observe(seconds)


class Calls:
    """Of an API process's calls of runners in processes of their own."""

    def __init__(self) -> None:
        self._calls = Counter(
            "facebento_runner_calls",
            "Calls of a runner by how they ended: ok, unavailable, timeout or cancelled",
            ["runner", "outcome"],
        )
        self._seconds = Histogram(
            "facebento_runner_call_duration_seconds",
            "Of a call of a runner, with the wait for a batch",
            ["runner"],
            buckets=SECONDS,
        )
        self._retries = Counter(
            "facebento_runner_retries", "Calls that were tried again, over a dropped connection", ["runner"]
        )

    def begin(self, runner: str) -> None:
        """Tell of none: the first one is to be seen as one more."""
        for outcome in ("ok", "unavailable", "timeout", "cancelled"):
            self._calls.labels(runner, outcome)
        self._retries.labels(runner)

    @contextmanager
    def of(self, runner: str) -> Iterator[None]:
        """Count the block as a call."""
        began = time.perf_counter()
        outcome = "cancelled"
        try:
            yield
            outcome = "ok"
        except RunnerTimeoutError:
            outcome = "timeout"
            raise
        except RunnerError:
            outcome = "unavailable"
            raise
        finally:
            self._calls.labels(runner, outcome).inc()
            self._seconds.labels(runner).observe(time.perf_counter() - began)

    def retried(self, runner: str) -> None:
        self._retries.labels(runner).inc()


@cache
def runs() -> Runs:
    """This process's; made when it has something to tell."""
    return Runs()


@cache
def queue() -> Queue:
    """As above."""
    return Queue()


@cache
def calls() -> Calls:
    """As above."""
    return Calls()
