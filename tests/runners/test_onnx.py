import ctypes
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models import store
from models.half import halve
from runners import onnx
from runners.errors import DeviceUnavailableError
from runners.onnx import (
    CPU,
    CUDA,
    TENSORRT,
    Placement,
    Session,
    choose_device,
    cpu_session,
    cuda_devices,
    cuda_session,
    gpu_name,
    pinned,
    tensorrt_session,
)
from tests.runners.conftest import Gpu, pictures


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets how many CUDA devices there seem to be."""
    return lambda count: monkeypatch.setattr(onnx, "cuda_devices", lambda: count)


@pytest.mark.parametrize(
    ("asked", "count", "chosen"),
    [
        ("cpu", 0, "cpu"),
        ("cpu", 2, "cpu"),
        ("auto", 0, "cpu"),
        ("auto", 1, "cuda:0"),
        ("auto", 4, "cuda:0"),
        ("cuda", 1, "cuda:0"),
        ("cuda:0", 1, "cuda:0"),
        ("cuda:3", 4, "cuda:3"),
        ("cuda:1,0", 2, "cuda:1"),
    ],
)
def test_the_device_follows_what_is_asked_for_and_there(asked: str, count: int, chosen: str, devices: Any) -> None:
    devices(count)
    assert choose_device(asked) == chosen


@pytest.mark.parametrize(
    ("asked", "count"), [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1), ("cuda:10", 2), ("cuda:0,2", 2)]
)
def test_a_cuda_device_that_is_not_there_is_refused(asked: str, count: int, devices: Any) -> None:
    devices(count)
    with pytest.raises(DeviceUnavailableError, match=f"{asked} was asked for.* {count or 'none'}"):
        choose_device(asked)


def test_asking_for_the_cpu_does_not_ask_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "cuda_devices", lambda: pytest.fail("asked"))
    assert choose_device("cpu") == "cpu"


class Driver:
    """libcuda.so.1, as far as it is called."""

    def __init__(self, init: int = 0, counted: int = 0) -> None:
        self._init, self._counted = init, counted

    def cuInit(self, _: int) -> int:  # noqa: N802
        return self._init

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = 3
        return self._counted


@pytest.mark.parametrize(("driver", "count"), [(Driver(), 3), (Driver(init=100), 0), (Driver(counted=1), 0)])
def test_devices_are_counted_by_the_driver(driver: Driver, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: driver)
    assert cuda_devices() == count


class NamingDriver(Driver):
    def cuDeviceGet(self, handle: Any, number: int) -> int:  # noqa: N802
        handle._obj.value = 10 * number
        return self._init

    def cuDeviceGetName(self, name: Any, size: int, handle: Any) -> int:  # noqa: N802
        name.value = f"NVIDIA {handle.value}".encode()[: size - 1]
        return 0


@pytest.mark.parametrize(("driver", "name"), [(NamingDriver(), "NVIDIA 20"), (NamingDriver(init=101), "unknown")])
def test_a_gpu_is_called_by_its_name(driver: Driver, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: driver)
    assert gpu_name("cuda:2") == name


def test_without_a_driver_there_are_no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> None:
        raise OSError

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert cuda_devices() == 0


@pytest.mark.parametrize(("worker", "chosen"), [(1, "cuda:0"), (2, "cuda:2"), (3, "cuda:0"), (4, "cuda:2")])
def test_of_several_devices_each_process_of_a_runner_takes_one(worker: int, chosen: str, devices: Any) -> None:
    devices(3)
    assert choose_device("cuda:0,2", worker) == chosen


def test_a_session_on_the_cpu_takes_any_number_of_rows(graph: bytes) -> None:
    session = cpu_session(graph)
    assert session.placement == Placement("cpu", CPU)
    assert session.row == (4, 4, 3)
    assert [len(session.run(pictures(count))) for count in (1, 3)] == [1, 3]


def test_a_session_on_a_gpu_is_made_for_one_number_of_rows(gpu: Gpu) -> None:
    session = cuda_session(b"", "cuda:1", rows=4)
    assert session.placement == Placement("cuda:1", CUDA, "fp32")
    options = {"device_id": "1", "use_tf32": "0", "arena_extend_strategy": "kSameAsRequested"}
    assert gpu.asked == [[(CUDA, options), CPU]]
    assert session.run(pictures(4)).shape == (4, 1)
    with pytest.raises(AssertionError, match="anew"):
        session.run(pictures(2))


def test_the_override_of_the_number_of_rows_is_by_the_name_that_prepared_graphs_have(graph: bytes) -> None:
    options = onnx._options()
    options.add_free_dimension_override_by_name("n", 3)
    session = Session(onnx._session(graph, options, [CPU]), Placement("cpu", CPU))
    assert session._session.get_inputs()[0].shape[0] == 3
    assert session.row == (4, 4, 3)


@pytest.mark.parametrize("model_id", ["centerface", "dlib-resnet-v1"])
@pytest.mark.parametrize("as_it_runs", [bytes, halve])
def test_a_graph_of_a_fixed_number_of_rows_answers_as_ever(
    model_id: str, as_it_runs: Callable[[bytes], bytes], astronaut: NDArray[np.uint8]
) -> None:
    """As sessions on a GPU are made, here on the CPU."""
    graph = as_it_runs(store.find(model_id).read())
    free = cpu_session(graph)
    options = onnx._options()
    options.add_free_dimension_override_by_name("n", 3)
    fixed = Session(onnx._session(graph, options, [CPU]), Placement("cpu", CPU))
    assert fixed.row == free.row
    side = free.row[0]
    rows = np.zeros((3, *free.row), np.uint8)
    for number, row in enumerate(rows):
        seen = astronaut[20 * number :, 100:][:side, :side]
        row[: seen.shape[0], : seen.shape[1]] = seen
    best = (slice(None), 0) if model_id == "centerface" else slice(None)  # the rest is noise, in any order
    assert np.abs(fixed.run(rows)[best] - free.run(rows)[best]).max() < 1e-3


def test_halves_are_given_the_tensor_cores(gpu: Gpu) -> None:
    """Without TF32 onnxruntime deselects all plans that use them (conv.cc), whatever they multiply."""
    assert cuda_session(b"", "cuda:0", rows=1, precision="fp16").placement.precision == "fp16"
    assert gpu.asked[0][0][1]["use_tf32"] == "1"


def test_a_session_that_can_not_be_made_on_the_gpu_is_refused_with_its_reason(gpu: Gpu) -> None:
    gpu.fails = {CUDA: "out of memory"}
    with pytest.raises(DeviceUnavailableError, match=r"CUDA was asked for.*out of memory.*serve-cuda\.txt"):
        cuda_session(b"", "cuda:0", rows=1)


def test_a_fall_back_of_onnxruntime_to_the_cpu_is_refused(gpu: Gpu) -> None:
    gpu.loads = False
    with pytest.raises(DeviceUnavailableError, match=r"could not be loaded.*serve-cuda\.txt"):
        cuda_session(b"", "cuda:0", rows=1)


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT's package, as far as it is looked at."""
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="10.13.2"))
    monkeypatch.setattr(onnx, "version", lambda: "1.31.1")


def by_tensorrt(engines: Path | None) -> Session:
    return tensorrt_session(b"", "cuda:1", rows=8, engines=engines, left_out=["Exp", "TopK"])


@pytest.mark.usefixtures("tensorrt")
def test_tensorrt_has_fixed_sizes_and_keeps_its_engines(gpu: Gpu, tmp_path: Path) -> None:
    session = by_tensorrt(tmp_path / "engines")
    assert session.placement == Placement("cuda:1", TENSORRT, "fp16")
    assert session.run(pictures(8)).shape == (8, 1)
    with pytest.raises(AssertionError, match="anew"):
        session.run(pictures(7))
    [(name, told), (then, cuda), last] = gpu.asked[-1]
    assert (name, then, last) == (TENSORRT, CUDA, CPU)
    assert (told["device_id"], cuda["device_id"], cuda["use_tf32"]) == ("1", "1", "0")
    assert told["trt_fp16_enable"] == "1"
    assert told["trt_op_types_to_exclude"] == "Exp,TopK"
    folder = tmp_path / "engines" / "NVIDIA-H100-80GB-PCIe-1-tensorrt-10.13.2-onnxruntime-1.31.1" / "8"
    assert folder.is_dir()
    assert (told["trt_engine_cache_enable"], told["trt_timing_cache_enable"]) == ("1", "1")
    assert (told["trt_engine_cache_path"], told["trt_timing_cache_path"]) == (str(folder), str(folder.parent))


@pytest.mark.usefixtures("tensorrt")
def test_where_engines_can_not_be_kept_they_are_built_anew_and_it_is_told(
    gpu: Gpu, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "engines").write_text("a file")
    assert by_tensorrt(tmp_path / "engines").placement.provider == TENSORRT
    assert by_tensorrt(None).placement.provider == TENSORRT
    for [(_, told), *_] in gpu.asked:
        assert "trt_engine_cache_enable" not in told
    assert caplog.text.count("built at every start") == 1


@pytest.mark.usefixtures("gpu")
def test_tensorrt_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(DeviceUnavailableError, match=r"TensorRT was asked for.*tensorrt-cu13.*FACEBENTO_GPU_ENGINE"):
        by_tensorrt(None)


@pytest.mark.usefixtures("tensorrt")
def test_tensorrt_that_does_not_load_is_not_replaced_by_cuda(gpu: Gpu) -> None:
    gpu.fails = {TENSORRT: "libnvinfer.so.10: cannot open shared object file"}
    with pytest.raises(DeviceUnavailableError, match=r"TensorRT was asked for.*libnvinfer"):
        by_tensorrt(None)


class Runtime:
    """libcudart, as far as it is called."""

    def __init__(self, failed: int = 0) -> None:
        self._failed = failed
        self.device = -1
        self.registered: dict[int, int] = {}

    def cudaSetDevice(self, number: int) -> int:  # noqa: N802
        self.device = number
        return 0

    def cudaHostRegister(self, pointer: Any, size: Any, flags: int) -> int:  # noqa: N802
        assert flags == 1
        self.registered[pointer.value] = size.value
        return self._failed

    def cudaGetLastError(self) -> int:  # noqa: N802
        failed, self._failed = self._failed, 0
        return failed

    def cudaHostUnregister(self, pointer: Any) -> int:  # noqa: N802
        del self.registered[pointer.value]
        return 0


def test_memory_is_pinned_for_its_device_and_as_long_as_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: runtime)
    buffer = pinned((3, 4, 4, 3), "cuda:1")
    assert runtime.device == 1
    assert runtime.registered == {buffer.ctypes.data: 144}
    buffer[:] = 7
    del buffer
    assert runtime.registered == {}


def test_memory_that_can_not_be_pinned_is_used_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = Runtime(failed=2)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: runtime)
    assert pinned((2, 3), "cuda:0").shape == (2, 3)
    assert runtime.cudaGetLastError() == 0, "onnxruntime would find it"
    assert "no memory can be pinned for cuda:0" in caplog.text

    def missing(_: str) -> None:
        raise OSError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert pinned((2, 3), "cuda:0").shape == (2, 3)
    assert "cannot open" in caplog.text


def test_libraries_that_are_missing_are_named_and_nothing_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(name: str) -> None:
        if "cudnn" in name:
            raise OSError(name)

    def preload() -> None:
        sys.stdout.write("Failed to load libcublas.so.13")

    monkeypatch.setattr("onnxruntime.preload_dlls", preload)
    monkeypatch.setattr(ctypes, "CDLL", load)
    assert onnx.missing_cuda_libraries() == ["libcudnn.so.9"]
    assert capsys.readouterr().out == ""


def test_what_onnxruntime_misses_is_no_result_of_a_command(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("onnxruntime.preload_dlls", lambda: sys.stdout.write("Failed to load libcublas.so.13"))
    assert cuda_session(b"", "cuda:0", rows=4).placement.device == "cuda:0"
    assert len(gpu.sessions) == 1
    assert tuple(capsys.readouterr()) == ("", "Failed to load libcublas.so.13")
