import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models import check, half
from runners.cpu import CpuEngine
from runners.cuda import CudaEngine
from runners.engine import Engine
from runners.errors import DeviceUnavailableError
from runners.onnx import CPU, CUDA, TENSORRT, Placement, tensorrt_session
from runners.opening import GpuEngine, open_engine
from tests.runners.conftest import Gpu
from threads import Threads


def opened(device: str, gpu_engine: GpuEngine = "cuda", **told: Any) -> Engine:
    threads = Threads(2, "test")
    return open_engine(b"whole", device=device, threads=threads, max_batch=2, gpu_engine=gpu_engine, **told)


@pytest.mark.parametrize("gpu_engine", ["cuda", "cuda-fp16", "tensorrt"])
def test_the_cpu_is_never_left_where_it_was_asked_for(gpu: Gpu, gpu_engine: GpuEngine) -> None:
    engine = opened("cpu", gpu_engine)
    assert type(engine) is CpuEngine
    assert engine.placement == Placement("cpu", CPU)
    assert gpu.asked == [[CPU]]


@pytest.mark.parametrize(
    ("device", "worker", "chosen"), [("auto", 1, "cuda:0"), ("cuda:1", 1, "cuda:1"), ("cuda:0,1", 2, "cuda:1")]
)
def test_on_a_gpu_there_is_a_session_for_each_size_of_a_batch(gpu: Gpu, device: str, worker: int, chosen: str) -> None:
    engine = opened(device, worker=worker)
    assert type(engine) is CudaEngine
    assert engine.placement == Placement(chosen, CUDA)
    assert [each._rows for each in gpu.sessions] == [2, 1]


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_a_fall_back_to_the_cpu_is_refused_where_cuda_was_asked_for(gpu: Gpu, device: str) -> None:
    gpu.loads = False
    with pytest.raises(DeviceUnavailableError, match=r"could not be loaded.*serve-cuda\.txt"):
        opened(device)


@pytest.mark.parametrize("gpu_engine", ["cuda", "cuda-fp16"])
def test_a_fall_back_to_the_cpu_is_told_where_the_choice_was_free(
    gpu: Gpu, gpu_engine: GpuEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(half, "halve", lambda graph: graph)
    gpu.loads = False
    with caplog.at_level(logging.WARNING, "facebento.runners"):
        engine = opened("auto", gpu_engine)
    assert engine.placement == Placement("cpu", CPU)
    assert gpu.asked[-1] == [CPU]
    assert "Running on the CPU" in caplog.text


@pytest.mark.parametrize("gpu_engine", ["cuda", "cuda-fp16"])
def test_a_gpu_that_opens_the_model_and_can_not_run_it_is_one_that_is_not_there(
    gpu: Gpu, gpu_engine: GpuEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(half, "halve", lambda graph: graph)
    gpu.room = 0
    with pytest.raises(DeviceUnavailableError, match=r"batch of 2: CUDA out of memory.*FACEBENTO_DEVICE to cpu"):
        opened("cuda", gpu_engine)
    # It goes on by sessions on the CPU, which run.
    monkeypatch.setattr("runners.opening.CpuEngine", lambda session, _: session)
    assert opened("auto", gpu_engine).placement == Placement("cpu", CPU)
    assert "Running on the CPU" in caplog.text


@pytest.fixture
def drift(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is found when the answers in 16 bits are held against those in 32; nothing by default."""
    found = [""]

    def drifted(whole: NDArray[np.float32], halved: NDArray[np.float32]) -> str:
        # Each alone, and a batch of the largest size.
        shown = check.patterns(4, 4)[[0, 1, 2, 3, 0, 1]]
        assert whole.tolist() == halved.tolist() == shown.reshape(6, -1).sum(axis=1)[:, None].tolist()
        return found[0]

    monkeypatch.setattr(half, "halve", lambda graph: b"halved " + graph)
    monkeypatch.setattr(half, "drift", drifted)
    monkeypatch.setattr(half, "only_around", lambda _: {"TopK", "Exp"})
    return found


@pytest.mark.usefixtures("drift")
def test_in_16_bits_the_halved_graph_runs_once_it_was_held_against_the_whole(gpu: Gpu) -> None:
    assert opened("cuda", "cuda-fp16").placement == Placement("cuda:0", CUDA, "fp16")
    assert gpu.graphs == [b"halved whole", b"halved whole", b"whole"]
    assert gpu.asked[-1] == [CPU]


def test_a_model_that_does_not_bear_16_bits_runs_in_32(
    gpu: Gpu, drift: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    drift[0] = "it answers values that are no numbers"
    assert opened("cuda", "cuda-fp16").placement == Placement("cuda:0", CUDA, "fp32")
    assert gpu.graphs[-2:] == [b"whole", b"whole"]
    assert "runs in 32-bit ones: it answers values that are no numbers" in caplog.text


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("missing", ["models.half", "onnx"])
def test_without_the_converter_a_model_runs_in_32_bits(
    missing: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delitem(sys.modules, "models.half")
    monkeypatch.setitem(sys.modules, missing, None)
    assert opened("cuda", "cuda-fp16").placement.precision == "fp32"
    assert "runs in 32-bit ones" in caplog.text


def test_a_graph_that_fails_in_16_bits_runs_in_32(
    gpu: Gpu, drift: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert drift == [""]
    answer = CudaEngine.answer

    def failing(self: CudaEngine, rows: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self.placement.precision == "fp16":
            raise RuntimeError("no kernel")
        return answer(self, rows)

    monkeypatch.setattr(CudaEngine, "answer", failing)
    assert opened("cuda", "cuda-fp16").placement.precision == "fp32"
    assert "no kernel" in caplog.text
    assert gpu.graphs[-1] == b"whole"


@pytest.mark.usefixtures("drift")
def test_in_16_bits_a_batch_of_the_largest_size_is_held_against_the_whole_too(gpu: Gpu) -> None:
    opened("cuda", "cuda-fp16")
    assert gpu.batches == [2, 1, *[1] * 8, 2]  # the warm-up; four patterns on the CPU and on the GPU; two together


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What TensorRT's session was asked for with."""
    asked: list[dict[str, Any]] = []

    def noted(graph: bytes, device: str, **told: Any) -> Any:
        asked.append(told)
        return tensorrt_session(graph, device, **told)

    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="10.13.2"))
    monkeypatch.setattr("runners.opening.tensorrt_session", noted)
    return asked


@pytest.mark.usefixtures("drift")
def test_tensorrt_has_a_session_for_each_size_and_leaves_the_ends_to_cuda(
    gpu: Gpu, tensorrt: list[dict[str, Any]], tmp_path: Path
) -> None:
    engine = opened("cuda", "tensorrt", engines=tmp_path)
    assert type(engine) is CudaEngine
    assert engine.placement == Placement("cuda:0", TENSORRT, "fp16")
    assert tensorrt == [{"rows": rows, "left_out": ["Exp", "TopK"], "engines": tmp_path} for rows in (2, 1)]
    assert gpu.asked[-1] == [CPU]  # to hold it against


@pytest.mark.parametrize("device", ["cuda", "auto"])
@pytest.mark.usefixtures("drift")
def test_tensorrt_asked_for_is_replaced_by_nothing(device: str, gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(DeviceUnavailableError, match="TensorRT was asked for"):
        opened(device, "tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="10.13.2"))
    gpu.fails = {TENSORRT: "no libnvinfer"}
    with pytest.raises(DeviceUnavailableError, match="no libnvinfer"):
        opened(device, "tensorrt")


@pytest.mark.usefixtures("gpu", "tensorrt")
def test_a_model_that_does_not_bear_tensorrt_is_refused(drift: list[str]) -> None:
    drift[0] = "it finds others"
    with pytest.raises(DeviceUnavailableError, match=r"it finds others.*FACEBENTO_GPU_ENGINE"):
        opened("cuda", "tensorrt")
