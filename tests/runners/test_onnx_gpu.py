"""The same answers on a GPU: run where there is one."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models import store
from runners.engine import Engine
from runners.onnx import CUDA
from runners.opening import open_engine
from tests.runners.conftest import Answers
from threads import Threads

pytestmark = pytest.mark.gpu


def opened(model: str, device: str, max_batch: int) -> Engine:
    return open_engine(store.find(model).path, device=device, threads=Threads(2, "test"), max_batch=max_batch)


@pytest.mark.parametrize("rows", [1, 3, 8, 11])
def test_embeddings_equal_those_of_the_cpu_in_every_bucket(rows: int, answers: Answers) -> None:
    crops = np.random.default_rng(rows).integers(0, 256, (rows, 150, 150, 3), np.uint8)
    on_gpu = opened("dlib-resnet-v1", "cuda", 8)
    assert on_gpu.placement.provider == CUDA
    cosines = (answers(on_gpu, crops) * answers(opened("dlib-resnet-v1", "cpu", 8), crops)).sum(axis=1)
    assert cosines.min() > 0.9999


@pytest.mark.parametrize("rows", [1, 3])
def test_faces_equal_those_of_the_cpu(rows: int, astronaut: NDArray[np.uint8], answers: Answers) -> None:
    canvases = np.zeros((rows, 640, 640, 3), np.uint8)
    for number, canvas in enumerate(canvases):
        canvas[number * 40 : number * 40 + 512, :512] = astronaut
    on_gpu = answers(opened("centerface", "cuda", 4), canvases)
    on_cpu = answers(opened("centerface", "cpu", 4), canvases)
    # The one face, and not the noise after it, whose order hangs on the last bits.
    assert on_gpu[:, 0, 4] == pytest.approx(on_cpu[:, 0, 4], abs=1e-3)
    assert on_gpu[:, 0, :4] == pytest.approx(on_cpu[:, 0, :4], abs=0.5)
    assert on_gpu[:, 0, 5:] == pytest.approx(on_cpu[:, 0, 5:], abs=0.5)
