"""What the service's processes take of the machine."""

import math
import time
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a process and all below it."""

    pss_mib: float  # proportional set size: pages that processes share count once
    rss_mib: float  # resident set sizes, summed: shared pages count for each
    files: int  # open file descriptors
    threads: int
    processes: int


def usage(pid: int) -> Usage:
    root = psutil.Process(pid)
    pss = rss = 0.0
    files = threads = processes = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            with process.oneshot():
                memory = process.memory_full_info()
                counted = process.num_fds(), process.num_threads()
        except psutil.Error:  # it ended meanwhile
            continue
        pss += getattr(memory, "pss", math.nan) / 2**20
        rss += memory.rss / 2**20
        files += counted[0]
        threads += counted[1]
        processes += 1
    return Usage(pss, rss, files, threads, processes)


def _cpu_seconds(pid: int) -> float:
    """Used up to now by a process and all that live below it."""
    root = psutil.Process(pid)
    total = 0.0
    for process in [root, *root.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


@dataclass(frozen=True, slots=True)
class Cores:
    """CPU seconds a second."""

    service: float
    client: float
    others: float  # of the machine: what disturbs a measurement


class CpuMeter:
    """Counts from when it is made."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._start = time.perf_counter()
        self._before = self._read()

    def cores(self) -> Cores:
        took = time.perf_counter() - self._start
        service, client, machine = (
            (now - before) / took for now, before in zip(self._read(), self._before, strict=True)
        )
        return Cores(service, client, max(0.0, machine - service - client))

    def _read(self) -> tuple[float, float, float]:
        own, machine = psutil.Process().cpu_times(), psutil.cpu_times()
        return (
            _cpu_seconds(self._pid),
            own.user + own.system,
            sum(machine) - machine.idle - getattr(machine, "iowait", 0),
        )
