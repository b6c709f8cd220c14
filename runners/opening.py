"""The engine that fits the device."""

from pathlib import Path

from runners.cpu import CpuEngine
from runners.cuda import CudaEngine
from runners.engine import Engine
from runners.onnx import CPU, open_session
from threads import Threads


def open_engine(graph: Path | bytes, *, device: str, threads: Threads, max_batch: int) -> Engine:
    """graph: an ONNX file, or what is in it. device: auto, cpu, cuda or cuda:N. threads: for rows on a CPU.
    max_batch: rows at a time on a GPU.

    Raises DeviceUnavailableError.
    """
    session = open_session(graph, device)
    return CpuEngine(session, threads) if session.placement.provider == CPU else CudaEngine(session, max_batch)
