"""The engines alone, by batch size."""

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench.report import percentile
from bench.speed import resnet50
from bench.speed.results import Rows, Table
from bench.speed.run import Plan
from runners.onnx import Engine

BATCHES = (1, 2, 4, 8, 16, 32, 64)
SHARE = 0.25  # of the seconds of a measurement, for each size


def engines(plan: Plan) -> None:
    """Of both models."""
    rows: Rows = []
    for description, graph in (plan.detector, plan.embedder):
        rows += _by_batch(plan, description.id, graph, description.input.size)
    for description, _ in (plan.detector, plan.embedder):
        best = max(float(row[3]) for row in rows if row[0] == description.id)
        plan.results.rounds[f"engine, {description.role}, at best"] = best
    _tell(plan, "engines", "The engines alone, by batch size", rows)


def network(plan: Plan) -> None:
    """Of a network of the size that larger embedders have; its weights are random, and its answers mean nothing."""
    rows: Rows = []
    for precision in resnet50.PRECISIONS:
        rows += _by_batch(plan, f"R50, {precision}", resnet50.graph(precision), resnet50.SIDE)
    _tell(plan, "network", "A network of ArcFace's R50's size, 6.3 G multiplications and additions a face", rows)


def _tell(plan: Plan, name: str, title: str, rows: Rows) -> None:
    plan.results.add(Table(name, title, ["model", "device", "batch", "rows /s", "ms a batch"], rows))


def _by_batch(plan: Plan, name: str, graph: bytes, side: int) -> Rows:
    device, run = _engine(graph, plan.cores, max(BATCHES))
    rows: Rows = []
    rng = np.random.default_rng(1)
    for size in plan.sizes(BATCHES):
        batch = rng.integers(0, 256, (size, side, side, 3), np.uint8)
        run(batch)
        times: list[float] = []
        start = before = time.perf_counter()
        while before - start < SHARE * plan.seconds or len(times) < 3:
            run(batch)
            now = time.perf_counter()
            times.append(now - before)
            before = now
        rows.append([name, device, size, size * len(times) / (before - start), 1000 * percentile(times, 50)])
    return rows


def _engine(graph: bytes, threads: int, most: int) -> tuple[str, Callable[[NDArray[np.uint8]], object]]:
    """Where it runs, and a function that runs a batch. All that is known here of the runners' engine."""
    engine = Engine(graph, device="auto", threads=threads, max_batch=most)
    return engine.placement.device, engine.run
