"""The same answers on a GPU, by each of its engines: run where there is one."""

import asyncio
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models import store
from runners.cuda import IN_FLIGHT, buckets
from runners.engine import Engine
from runners.onnx import CUDA, TENSORRT, pinned
from runners.opening import GpuEngine, open_engine
from tests.runners.conftest import Answers
from threads import Threads

pytestmark = pytest.mark.gpu

Pixels = NDArray[np.uint8]
MAX_BATCH = 6
# A row for each bucket, for those between them, and for more than the largest.
COUNTS = [*range(1, MAX_BATCH + 1), MAX_BATCH + 1, 2 * MAX_BATCH + 3]
# Least cosine, most pixels and most of a score that answers may be apart from the CPU's: performance.md's.
ENGINES: list[tuple[GpuEngine, float, float, float]] = [
    ("cuda", 0.9999, 0.5, 1e-3),
    ("cuda-fp16", 0.999, 0.5, 5e-3),
    ("tensorrt", 0.999, 0.5, 5e-3),
]


@pytest.fixture(scope="module", params=ENGINES, ids=[engine for engine, *_ in ENGINES])
def asked(request: pytest.FixtureRequest) -> tuple[GpuEngine, float, float, float]:
    found: tuple[GpuEngine, float, float, float] = request.param
    if found[0] == "tensorrt" and importlib.util.find_spec("tensorrt") is None:
        pytest.skip("TensorRT is not installed")
    return found


def opened(model: str, device: str, gpu_engine: GpuEngine = "cuda", engines: Path | None = None) -> Engine:
    graph, threads = store.find(model).read(), Threads(2, "test")
    return open_engine(
        graph, device=device, threads=threads, max_batch=MAX_BATCH, gpu_engine=gpu_engine, engines=engines
    )


def check_placement(engine: Engine, gpu_engine: GpuEngine) -> None:
    provider = TENSORRT if gpu_engine == "tensorrt" else CUDA
    precision = "fp32" if gpu_engine == "cuda" else "fp16"
    assert (engine.placement.provider, engine.placement.precision) == (provider, precision)


def test_embeddings_equal_those_of_the_cpu_in_every_bucket(
    asked: tuple[GpuEngine, float, float, float], answers: Answers, tmp_path: Path
) -> None:
    gpu_engine, least, _, _ = asked
    on_gpu, on_cpu = opened("dlib-resnet-v1", "cuda", gpu_engine, tmp_path), opened("dlib-resnet-v1", "cpu")
    check_placement(on_gpu, gpu_engine)
    assert set(buckets(MAX_BATCH)) < set(COUNTS)
    for count in COUNTS:
        crops = np.random.default_rng(count).integers(0, 256, (count, 150, 150, 3), np.uint8)
        assert (answers(on_gpu, crops) * answers(on_cpu, crops)).sum(axis=1).min() >= least, count


def test_faces_equal_those_of_the_cpu_in_every_bucket(
    asked: tuple[GpuEngine, float, float, float], astronaut: Pixels, answers: Answers, tmp_path: Path
) -> None:
    gpu_engine, _, pixels, score = asked
    on_gpu, on_cpu = opened("centerface", "cuda", gpu_engine, tmp_path), opened("centerface", "cpu")
    check_placement(on_gpu, gpu_engine)
    canvases = np.zeros((3, 640, 640, 3), np.uint8)
    for number, canvas in enumerate(canvases):
        canvas[number * 40 : number * 40 + 512, number * 60 : number * 60 + 512] = astronaut
    expected = answers(on_cpu, canvases)[:, 0]
    for count in COUNTS:
        order = np.resize([0, 1, 2], count)
        # The one face, and not the noise after it, whose order hangs on the last bits.
        found = answers(on_gpu, canvases[order])[:, 0]
        assert found[:, 4] == pytest.approx(expected[order, 4], abs=score), count
        assert np.abs(found - expected[order]).max() <= pixels, count


def test_batches_in_flight_do_not_mix(asked: tuple[GpuEngine, float, float, float], tmp_path: Path) -> None:
    gpu_engine, least, _, _ = asked
    engine = opened("dlib-resnet-v1", "cuda", gpu_engine, tmp_path)

    async def scenario() -> None:
        calls = [np.random.default_rng(i).integers(0, 256, (1 + i % 9, 150, 150, 3), np.uint8) for i in range(40)]
        alone = [await engine.run(rows) for rows in calls]
        together = await asyncio.gather(*(engine.run(rows) for rows in calls))
        for one, other in zip(alone, together, strict=True):
            assert (one * other).sum(axis=1).min() >= least

    assert IN_FLIGHT > 1
    asyncio.run(scenario())


def test_engines_of_tensorrt_are_kept(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt")
    opened("dlib-resnet-v1", "cuda", "tensorrt", tmp_path)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.engine")}
    assert kept
    opened("dlib-resnet-v1", "cuda", "tensorrt", tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.engine")} == kept


def test_memory_is_pinned(caplog: pytest.LogCaptureFixture) -> None:
    opened("dlib-resnet-v1", "cuda")
    assert pinned((4, 150, 150, 3), "cuda:0").nbytes == 4 * 150 * 150 * 3
    assert "pinned" not in caplog.text
