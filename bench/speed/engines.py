"""The engines alone, by batch size."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import numpy as np
from numpy.typing import NDArray

from bench.speed import resnet50
from bench.speed.results import Rows, Table
from bench.speed.run import Plan
from runners import onnx

BATCHES = (1, 2, 4, 8, 16, 32, 64)
SHARE = 0.125  # of the seconds of a measurement, for each size
IN_FLIGHT = 2  # batches: one is copied while another one runs

# Runs a batch of pictures.
Engine = Callable[[NDArray[np.uint8]], Awaitable[object]]


def engines(plan: Plan) -> None:
    """Of both models."""
    rows: Rows = []
    for description, graph in (plan.detector, plan.embedder):
        rows += _by_batch(plan, description.id, graph, description.input.size)
    for description, _ in (plan.detector, plan.embedder):
        best = max(float(rate) for row in rows if row[0] == description.id for rate in row[-2:])
        plan.results.rounds[f"engine, {description.role}, at best"] = best
    _tell(plan, "engines", "The engines alone, by batch size", rows)


def network(plan: Plan) -> None:
    """Of a network of the size that larger embedders have; its weights are random, and its answers mean nothing."""
    rows: Rows = []
    for precision in resnet50.PRECISIONS:
        rows += _by_batch(plan, f"R50, {precision}", resnet50.graph(precision), resnet50.SIDE)
    _tell(plan, "network", "A network of ArcFace's R50's size, 6.3 G multiplications and additions a face", rows)


def _tell(plan: Plan, name: str, title: str, rows: Rows) -> None:
    columns = ["model", "device", "batch", "ms a batch", "rows /s", "rows /s, two in flight"]
    plan.results.add(Table(name, title, columns, rows))


def _by_batch(plan: Plan, name: str, graph: bytes, side: int) -> Rows:
    device, run = _engine(graph, plan.cores, max(BATCHES))
    rows: Rows = []
    rng = np.random.default_rng(1)
    for size in plan.sizes(BATCHES):
        batch = rng.integers(0, 256, (size, side, side, 3), np.uint8)
        seconds = SHARE * plan.seconds
        alone = asyncio.run(_timed(run, batch, seconds, in_flight=1))
        two = asyncio.run(_timed(run, batch, seconds, in_flight=IN_FLIGHT))
        rows.append([name, device, size, 1000 * alone, size / alone, size / two])
    return rows


async def _timed(run: Engine, batch: NDArray[np.uint8], seconds: float, *, in_flight: int) -> float:
    """Seconds from one batch done to the next one done, with so many at work."""
    await run(batch)
    start = time.perf_counter()
    done = 0

    async def keep_on() -> None:
        nonlocal done
        while time.perf_counter() - start < seconds:
            await run(batch)
            done += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(in_flight):
            tasks.create_task(keep_on())
    return (time.perf_counter() - start) / done


def _engine(graph: bytes, threads: int, most: int) -> tuple[str, Engine]:
    """Where it runs, and what runs a batch. All that is known here of the runners' engine."""
    engine = onnx.Engine(graph, device="auto", threads=threads, max_batch=most)

    async def run(batch: NDArray[np.uint8]) -> object:
        return await asyncio.to_thread(engine.run, batch)

    return engine.placement.device, run
