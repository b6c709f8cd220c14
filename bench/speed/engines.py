"""The engines alone, by batch size."""

import asyncio
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.speed import resnet50
from bench.speed.results import Rows, Table
from bench.speed.run import Plan
from runners.engine import Engine
from runners.onnx import choose_device
from runners.opening import GpuEngine, open_engine
from threads import Threads

BATCHES = (1, 2, 4, 8, 16, 32, 64)
SHARE = 0.125  # of the seconds of a measurement, for each size
IN_FLIGHT = 2  # batches: one is copied while another one runs


def engines(plan: Plan) -> None:
    """Of both models."""
    rows: Rows = []
    for description, graph in (plan.detector, plan.embedder):
        rows += _all_kinds(plan, description.id, graph, description.input.size)
    for description, _ in (plan.detector, plan.embedder):
        best = max(float(rate) for row in rows if row[0] == description.id for rate in row[-2:])
        plan.results.rounds[f"engine, {description.role}, at best"] = best
    _tell(plan, "engines", "The engines alone, by batch size", rows)


def network(plan: Plan) -> None:
    """Of a network of the size that larger embedders have; its weights are random, and its answers mean nothing."""
    rows = _all_kinds(plan, "R50", resnet50.graph(), resnet50.SIDE)
    _tell(plan, "network", "A network of ArcFace's R50's size, 6.3 G multiplications and additions a face", rows)


def _tell(plan: Plan, name: str, title: str, rows: Rows) -> None:
    columns = ["model", "engine", "batch", "ms a batch", "rows /s", "rows /s, two in flight"]
    plan.results.add(Table(name, title, columns, rows))


def _all_kinds(plan: Plan, name: str, graph: bytes, side: int) -> Rows:
    kinds = plan.gpu_engines if choose_device("auto") != "cpu" else plan.gpu_engines[:1]  # a CPU has but one
    return [row for kind in kinds for row in _by_batch(plan, name, graph, side, kind)]


def _by_batch(plan: Plan, name: str, graph: bytes, side: int, kind: GpuEngine) -> Rows:
    with tempfile.TemporaryDirectory() as folder:  # for TensorRT's engines
        threads = Threads(plan.cores, "onnx")
        most = max(BATCHES)
        engine = open_engine(
            graph, device="auto", threads=threads, max_batch=most, gpu_engine=kind, engines=Path(folder)
        )
        return asyncio.run(_measured(plan, name, engine, side))


async def _measured(plan: Plan, name: str, engine: Engine, side: int) -> Rows:
    placement = engine.placement
    told = f"{placement.device}, {placement.provider.removesuffix('ExecutionProvider')}, {placement.precision}"
    rows: Rows = []
    rng = np.random.default_rng(1)
    for size in plan.sizes(BATCHES):
        batch = rng.integers(0, 256, (size, side, side, 3), np.uint8)
        alone, two = [await _timed(engine, batch, SHARE * plan.seconds, in_flight) for in_flight in (1, IN_FLIGHT)]
        rows.append([name, told, size, 1000 * alone, size / alone, size / two])
    return rows


async def _timed(engine: Engine, batch: NDArray[np.uint8], seconds: float, in_flight: int) -> float:
    """Seconds from one batch done to the next one done, with so many at work."""
    await engine.run(batch)
    start = time.perf_counter()
    done = 0

    async def keep_on() -> None:
        nonlocal done
        while time.perf_counter() - start < seconds:
            await engine.run(batch)
            done += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(in_flight):
            tasks.create_task(keep_on())
    return (time.perf_counter() - start) / done
