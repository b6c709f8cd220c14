"""The engine that fits the device."""

import logging
from pathlib import Path
from typing import Literal

import numpy as np

from models.check import patterns
from runners.cpu import CpuEngine
from runners.cuda import CudaEngine, buckets
from runners.engine import Engine
from runners.errors import DeviceUnavailableError
from runners.onnx import Session, choose_device, cpu_session, cuda_session, tensorrt_session
from threads import Threads

log = logging.getLogger("facebento.runners")

# How a GPU runs a model: CUDA in 32-bit floats, CUDA in 16-bit ones, TensorRT in 16-bit ones.
GpuEngine = Literal["cuda", "cuda-fp16", "tensorrt"]

PROBES = 4  # rows by which the answers in 16 bits are held against those in 32


def open_engine(
    graph: bytes,
    *,
    device: str,
    threads: Threads,
    max_batch: int,
    gpu_engine: GpuEngine = "cuda",
    engines: Path | None = None,
    worker: int = 1,
) -> Engine:
    """graph: what is in a prepared ONNX file. device and worker: as of choose_device. threads: for rows on a CPU.
    max_batch: rows at a time on a GPU. engines: a folder for TensorRT's, of this graph alone.

    Raises DeviceUnavailableError.
    """
    chosen = choose_device(device, worker)
    if chosen == "cpu":
        return CpuEngine(cpu_session(graph), threads)
    if gpu_engine == "tensorrt":
        # Asked for by its name, it is not replaced by anything else.
        return _tensorrt(graph, chosen, max_batch, engines)
    try:
        halved = _in_half(graph, chosen, max_batch) if gpu_engine == "cuda-fp16" else None
        return halved or _cuda(graph, chosen, max_batch)
    except DeviceUnavailableError as error:
        if device != "auto":
            raise
        log.warning("There is an NVIDIA GPU. %s Running on the CPU.", error)
        return CpuEngine(cpu_session(graph), threads)


def _cuda(graph: bytes, device: str, max_batch: int, precision: str = "fp32") -> CudaEngine:
    sizes = reversed(buckets(max_batch))
    return CudaEngine({size: cuda_session(graph, device, rows=size, precision=precision) for size in sizes})


def _in_half(graph: bytes, device: str, max_batch: int) -> CudaEngine | None:
    """None, and a line in the log, where the graph can't be had or run in 16 bits, or does not bear them."""
    try:
        from models.half import halve  # noqa: PLC0415  onnx, which only the GPU's requirements bring

        engine = _cuda(halve(graph), device, max_batch, "fp16")
        found = _drift(cpu_session(graph), engine)
    except Exception as error:  # noqa: BLE001  what onnx, its converter and onnxruntime raise is of many kinds
        found = str(error)
    if found:
        log.warning("The model can't be run in 16-bit floats, and runs in 32-bit ones: %s", found)
        return None
    return engine


def _tensorrt(graph: bytes, device: str, max_batch: int, engines: Path | None) -> CudaEngine:
    try:
        from models.half import only_around  # noqa: PLC0415  as above

        left_out = sorted(only_around(graph))
    except Exception as error:
        raise DeviceUnavailableError(f"TensorRT was asked for, and the model can't be read for it: {error}") from error
    sizes = reversed(buckets(max_batch))
    engine = CudaEngine(
        {size: tensorrt_session(graph, device, rows=size, engines=engines, left_out=left_out) for size in sizes}
    )
    found = _drift(cpu_session(graph), engine)
    if found:
        raise DeviceUnavailableError(
            f"TensorRT was asked for, and the model does not bear its 16-bit floats: {found}. Set "
            "FACEBENTO_GPU_ENGINE to cuda."
        )
    return engine


def _drift(reference: Session, engine: CudaEngine) -> str:
    """How the engine answers otherwise than the graph in 32 bits, on the CPU; nothing where it does not."""
    from models.half import drift  # noqa: PLC0415  as above

    shown = patterns(PROBES, reference.row[0])
    alone = np.concatenate([reference.run(row[None]) for row in shown])
    # A session of another size has plans, or an engine, of its own. The two that calls meet most are looked at.
    together = np.arange(engine.largest) % PROBES
    halved = [*(engine.answer(row[None]) for row in shown), engine.answer(shown[together])]
    return drift(np.concatenate([alone, alone[together]]), np.concatenate(halved))
