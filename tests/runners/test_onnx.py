import ctypes
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runners import onnx
from runners.errors import DeviceUnavailableError
from runners.onnx import CPU, CUDA, Placement, choose_device, cuda_devices, open_session
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
    ],
)
def test_the_device_follows_what_is_asked_for_and_there(asked: str, count: int, chosen: str, devices: Any) -> None:
    devices(count)
    assert choose_device(asked) == chosen


@pytest.mark.parametrize(("asked", "count"), [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1), ("cuda:10", 2)])
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


def test_without_a_driver_there_are_no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> None:
        raise OSError

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert cuda_devices() == 0


def test_a_session_on_a_gpu_is_asked_for_with_its_options(gpu: Gpu) -> None:
    assert open_session(Path(), "cuda:1").placement == Placement("cuda:1", CUDA)
    assert gpu.asked == [[(CUDA, {"device_id": "1", "use_tf32": "0"}), CPU]]


def test_a_session_that_can_not_be_made_on_the_gpu_is_refused_with_its_reason(gpu: Gpu) -> None:
    gpu.fails = "out of memory"
    with pytest.raises(DeviceUnavailableError, match="out of memory"):
        open_session(Path(), "cuda")


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_a_fall_back_to_the_cpu_is_refused_where_cuda_was_asked_for(gpu: Gpu, device: str) -> None:
    gpu.loads = False
    with pytest.raises(DeviceUnavailableError, match=r"CUDA could not be loaded.*serve-cuda\.txt"):
        open_session(Path(), device)


def test_a_fall_back_to_the_cpu_is_told_where_the_choice_was_free(gpu: Gpu, caplog: pytest.LogCaptureFixture) -> None:
    gpu.loads = False
    with caplog.at_level(logging.WARNING, "facebento.runners"):
        session = open_session(Path(), "auto")
    assert session.placement == Placement("cpu", CPU)
    assert gpu.asked[-1] == [CPU]
    assert "Running on the CPU" in caplog.text


def test_the_cpu_is_never_left_where_it_was_asked_for(gpu: Gpu) -> None:
    assert open_session(Path(), "cpu").placement.device == "cpu"
    assert gpu.asked == [[CPU]]


def test_a_graph_is_also_taken_as_bytes(graph: Path) -> None:
    sessions = [open_session(each, "cpu") for each in (graph, graph.read_bytes())]
    assert np.array_equal(sessions[0].run(pictures(3)), sessions[1].run(pictures(3)))
