from pathlib import Path

import numpy as np
import pytest

from runners.cuda import CudaEngine, buckets
from runners.onnx import CUDA, Placement, open_session
from tests.runners.conftest import Answers, Gpu, marked, pictures, sums


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


def opened(gpu: Gpu, max_batch: int) -> CudaEngine:  # noqa: ARG001  its session
    return CudaEngine(open_session(Path(), "cuda"), max_batch)


def test_on_a_gpu_every_bucket_is_run_before_the_first_request(gpu: Gpu) -> None:
    assert opened(gpu, max_batch=6).placement == Placement("cuda:0", CUDA)
    assert gpu.sessions[0].batches == [1, 2, 4, 6]


@pytest.mark.parametrize(
    ("count", "batches"), [(1, [1]), (2, [2]), (3, [4]), (5, [6]), (6, [6]), (7, [6, 1]), (15, [6, 6, 4])]
)
def test_on_a_gpu_batches_are_padded_to_a_bucket_and_cut_back(
    gpu: Gpu, answers: Answers, count: int, batches: list[int]
) -> None:
    engine = opened(gpu, max_batch=6)
    session = gpu.sessions[0]
    session.batches.clear()
    rows = pictures(count)
    found = answers(engine, rows)
    assert session.batches == batches
    assert found.tolist() == rows.reshape(count, -1).sum(axis=1, dtype=np.float32)[:, None].tolist()


def test_a_batch_that_is_too_large_for_the_memory_is_run_row_by_row(gpu: Gpu, answers: Answers) -> None:
    engine = opened(gpu, max_batch=4)
    session = gpu.sessions[0]
    session.fits = 1
    session.batches.clear()
    assert sums(answers(engine, marked(1, 2, 3))) == [1, 2, 3]
    assert session.batches == [4, 1, 1, 1]
