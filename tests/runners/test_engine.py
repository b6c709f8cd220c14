"""What every engine does."""

import logging

import numpy as np
import pytest

from runners.engine import LOST_AFTER, Engine
from runners.opening import open_engine
from tests.runners.conftest import Answers, Gpu, marked, sums
from threads import Threads


def opened(device: str, max_batch: int) -> Engine:
    return open_engine(b"", device=device, threads=Threads(2, "test"), max_batch=max_batch)


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_a_row_that_can_not_be_run_is_answered_nan_and_its_neighbours_as_ever(
    device: str, gpu: Gpu, answers: Answers, caplog: pytest.LogCaptureFixture
) -> None:
    engine = opened(device, max_batch=4)
    gpu.breaks(3, 6)
    found = answers(engine, marked(1, 2, 3, 4, 5, 6))
    assert found.dtype == np.float32
    assert sums(found) == [1, 2, None, 4, 5, None]
    assert not engine.lost
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in errors] == ["2 of 6 rows could not be run: CUDA out of memory"]


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_a_device_that_runs_nothing_again_and_again_is_lost(device: str, gpu: Gpu, answers: Answers) -> None:
    engine = opened(device, max_batch=4)
    lost = []
    for broken in ({1}, {1}, set(), {1}, {1, 2}, {1}, {1, 2}, {1}):
        gpu.breaks(*broken)
        answers(engine, marked(1, 1) if broken != {1, 2} else marked(1, 2))
        lost.append(engine.lost)
    # The third run succeeds: the count begins anew.
    assert lost == [False] * 7 + [True]
    gpu.breaks()
    answers(engine, marked(1))
    assert not engine.lost


def test_runs_of_which_some_rows_succeed_are_no_lost_device(gpu: Gpu, answers: Answers) -> None:
    engine = opened("cuda", max_batch=4)
    gpu.breaks(1)
    for _ in range(2 * LOST_AFTER):
        assert sums(answers(engine, marked(1, 2))) == [None, 2]
        assert not engine.lost
