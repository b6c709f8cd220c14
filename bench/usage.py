"""What the service's processes take of the machine."""

import math
import os
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
    services: dict[str, float]  # BentoML service -> PSS of its processes, MiB; "" is the supervisor

    def by_service(self) -> str:
        return ", ".join(f"{name or 'supervisor'} {pss:.0f}" for name, pss in sorted(self.services.items()))


def usage(pid: int) -> Usage:
    root = psutil.Process(pid)
    pss = rss = 0.0
    files = threads = 0
    services: dict[str, float] = {}
    for process in [root, *root.children(recursive=True)]:
        try:
            with process.oneshot():
                memory = process.memory_full_info()
                counted = process.num_fds(), process.num_threads()
                words = process.cmdline()
        except psutil.Error:  # it ended meanwhile
            continue
        own = getattr(memory, "pss", math.nan) / 2**20
        name = words[words.index("--service-name") + 1] if "--service-name" in words else ""
        services[name] = services.get(name, 0.0) + own
        pss += own
        rss += memory.rss / 2**20
        files += counted[0]
        threads += counted[1]
    return Usage(pss, rss, files, threads, services)


def cpu_seconds(pid: int) -> float:
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
            cpu_seconds(self._pid),
            own.user + own.system,
            sum(machine) - machine.idle - getattr(machine, "iowait", 0),
        )


class OthersMeter:
    """What the machine does besides this process and those that it has started. Counts from when it is made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._before = self._read()

    def cores(self) -> float:
        """CPU seconds a second, those that a hypervisor gave to others among them."""
        return max(0.0, (self._read() - self._before) / (time.perf_counter() - self._start))

    @staticmethod
    def _read() -> float:
        machine, ended = psutil.cpu_times(), psutil.Process().cpu_times()
        busy = sum(machine[:8]) - machine.idle - getattr(machine, "iowait", 0)  # behind them: guests, counted before
        own = cpu_seconds(os.getpid()) + ended.children_user + ended.children_system
        return float(busy - own)
