"""The ceiling: the work of a request in a loop, in as many processes as there are cores."""

import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

from bench.report import percentile
from bench.speed.work import Prepared, Work

PATIENCE_S = 60  # beyond what was asked for


@dataclass(frozen=True, slots=True)
class Loop:
    """What all the processes did together."""

    rate: float  # pictures a second
    latencies: tuple[float, ...]  # ms, of each picture

    def ms(self, percent: float) -> float:
        return percentile(self.latencies, percent)


class Ceiling:
    """The processes, which wait until they are told to run. They live as long as the block."""

    def __init__(self, detector: Prepared, embedder: Prepared, processes: int) -> None:
        context = multiprocessing.get_context("spawn")
        pipes = [context.Pipe() for _ in range(processes)]
        self._ends = [ours for ours, _ in pipes]
        self.processes = [
            context.Process(target=_serve, args=(theirs, detector, embedder), daemon=True) for _, theirs in pipes
        ]

    def __enter__(self) -> Self:
        for process in self.processes:
            process.start()
        for end in self._ends:
            end.recv()  # it has its models
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            process.terminate()
            process.join()

    def run(self, job: str, data: bytes, seconds: float, *, processes: int | None = None) -> Loop:
        """The job, a method of Work, on the picture, again and again.

        processes: how many of them; None: all. Raises RuntimeError where one of them has ended.
        """
        ends = self._ends[:processes]
        try:
            for end in ends:
                end.send((job, data, seconds))
            done = [self._result(end, seconds) for end in ends]
        except (OSError, EOFError) as error:
            raise RuntimeError("a process of the ceiling has ended") from error
        return Loop(sum(rate for rate, _ in done), tuple(ms for _, latencies in done for ms in latencies))

    @staticmethod
    def _result(end: Connection, seconds: float) -> tuple[float, Sequence[float]]:
        if not end.poll(seconds + PATIENCE_S):
            raise RuntimeError("a process of the ceiling does not answer")
        rate, latencies = end.recv()
        return rate, latencies


def _serve(end: Connection, detector: Prepared, embedder: Prepared) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the caller as well, who ends this
    work = Work(detector, embedder)
    end.send(None)
    while True:
        try:
            job, data, seconds = end.recv()
        except EOFError:
            return
        end.send(_loop(getattr(work, job), data, seconds))


def _loop(job: Callable[[bytes], object], data: bytes, seconds: float) -> tuple[float, list[float]]:
    """Pictures a second, and how many milliseconds each took."""
    latencies = []
    start = before = time.perf_counter()
    while before - start < seconds:
        job(data)
        now = time.perf_counter()
        latencies.append(1000 * (now - before))
        before = now
    return len(latencies) / (before - start), latencies
