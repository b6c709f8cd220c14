import asyncio
import threading
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from runners.cuda import CudaEngine, buckets
from runners.onnx import CUDA, Placement, cuda_session
from tests.runners.conftest import Answers, Gpu, Rows, marked, pictures, sums


@pytest.mark.parametrize(
    ("most", "sizes"),
    [
        (1, [1]),
        (2, [1, 2]),
        (3, [1, 2, 3]),
        (8, [1, 2, 4, 8]),
        (12, [1, 2, 4, 8, 12]),
        (16, [1, 2, 4, 8, 16]),
        (33, [1, 2, 4, 8, 16, 32, 33]),
    ],
)
def test_buckets_are_powers_of_two_and_the_largest_batch(most: int, sizes: list[int]) -> None:
    assert buckets(most) == sizes


def opened(max_batch: int) -> CudaEngine:
    return CudaEngine({size: cuda_session(b"", "cuda:0", rows=size) for size in buckets(max_batch)})


def test_every_bucket_is_run_before_the_first_request_the_largest_first(gpu: Gpu) -> None:
    assert opened(max_batch=6).placement == Placement("cuda:0", CUDA)
    assert gpu.batches == [6, 4, 2, 1]


@pytest.mark.parametrize(
    ("count", "batches"), [(1, [1]), (2, [2]), (3, [4]), (5, [6]), (6, [6]), (7, [1, 6]), (15, [4, 6, 6])]
)
def test_batches_are_padded_to_a_bucket_and_cut_back(
    gpu: Gpu, answers: Answers, count: int, batches: list[int]
) -> None:
    engine = opened(max_batch=6)
    answers(engine, pictures(6))  # what they are padded with is what was there before
    gpu.batches.clear()
    rows = pictures(count)
    found = answers(engine, rows)
    assert sorted(gpu.batches) == batches
    assert found.tolist() == rows.reshape(count, -1).sum(axis=1, dtype=np.float32)[:, None].tolist()


def test_a_batch_that_is_too_large_for_the_memory_is_run_row_by_row(gpu: Gpu, answers: Answers) -> None:
    engine = opened(max_batch=4)
    gpu.fits(1)
    gpu.batches.clear()
    assert sums(answers(engine, marked(1, 2, 3))) == [1, 2, 3]
    assert gpu.batches == [4, 1, 1, 1]


class Gated:
    """A session in which each batch waits until it is let go."""

    placement = Placement("cuda:0", CUDA)
    row = (4, 4, 3)

    def __init__(self) -> None:
        self.begun: list[int] = []  # the marks of the first rows
        self.free = True
        self._go = threading.Semaphore(0)

    def run(self, rows: Rows) -> NDArray[np.float32]:
        self.begun.append(int(rows[0, 0, 0, 0]))
        assert self.free or self._go.acquire(timeout=20)
        return rows[:, 0, 0, :1].astype(np.float32)

    def let_go(self, batches: int) -> None:
        self._go.release(batches)


def gated_engine(gated: Gated) -> CudaEngine:
    engine = CudaEngine({1: gated, 2: gated})  # type: ignore[dict-item]
    gated.begun.clear()
    gated.free = False
    return engine


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(0.001)


@pytest.mark.usefixtures("gpu")
def test_two_batches_are_in_flight_and_no_more_each_in_memory_of_its_own() -> None:
    gated = Gated()

    async def scenario() -> None:
        engine = gated_engine(gated)
        calls = [asyncio.create_task(engine.run(marked(mark, mark + 1))) for mark in (1, 3, 5)]
        await until(lambda: len(gated.begun) == 2)
        await asyncio.sleep(0.02)
        assert sorted(gated.begun) == [1, 3]
        gated.let_go(3)
        assert [(await call)[:, 0].tolist() for call in calls] == [[1, 2], [3, 4], [5, 6]]

    asyncio.run(scenario())


@pytest.mark.usefixtures("gpu")
def test_batches_of_a_call_that_is_cancelled_do_not_begin() -> None:
    gated = Gated()

    async def scenario() -> None:
        engine = gated_engine(gated)
        gone = asyncio.create_task(engine.run(marked(*range(1, 9))))
        await until(lambda: len(gated.begun) == 2)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        gated.let_go(9)
        assert (await engine.run(marked(9))).tolist() == [[9]]
        assert sorted(gated.begun) == [1, 3, 9]

    asyncio.run(scenario())
