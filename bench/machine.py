"""What a figure was measured on."""

import os
import platform
from pathlib import Path

import psutil


def describe() -> str:
    """Cores, CPU model, memory and the load that was there before, in one line."""
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{psutil.cpu_count()} cores, {_cpu_model()}, {memory:.0f} GiB, {platform.system()} {platform.machine()}, "
        f"load {os.getloadavg()[0]:.1f}"
    )


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
