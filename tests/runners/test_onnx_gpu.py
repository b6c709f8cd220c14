"""The same answers on a GPU: run where there is one."""

import numpy as np
import pytest

from models import store
from runners.onnx import CUDA, Engine

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("rows", [1, 3, 8, 11])
def test_embeddings_equal_those_of_the_cpu_in_every_bucket(rows: int) -> None:
    path = store.find("dlib-resnet-v1").path
    crops = np.random.default_rng(rows).integers(0, 256, (rows, 150, 150, 3), np.uint8)
    on_gpu = Engine(path, device="cuda", threads=1, max_batch=8)
    assert on_gpu.placement.provider == CUDA
    cosines = (on_gpu.run(crops) * Engine(path, device="cpu", threads=1, max_batch=8).run(crops)).sum(axis=1)
    assert cosines.min() > 0.9999


@pytest.mark.parametrize("rows", [1, 3])
def test_faces_equal_those_of_the_cpu(rows: int, astronaut: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    path = store.find("centerface").path
    canvases = np.zeros((rows, 640, 640, 3), np.uint8)
    for number, canvas in enumerate(canvases):
        canvas[number * 40 : number * 40 + 512, :512] = astronaut
    on_gpu = Engine(path, device="cuda", threads=1, max_batch=4).run(canvases)
    on_cpu = Engine(path, device="cpu", threads=1, max_batch=4).run(canvases)
    # The one face, and not the noise after it, whose order hangs on the last bits.
    assert on_gpu[:, 0, 4] == pytest.approx(on_cpu[:, 0, 4], abs=1e-3)
    assert on_gpu[:, 0, :4] == pytest.approx(on_cpu[:, 0, :4], abs=0.5)
    assert on_gpu[:, 0, 5:] == pytest.approx(on_cpu[:, 0, 5:], abs=0.5)
