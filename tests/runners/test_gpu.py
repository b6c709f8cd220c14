"""What is told of a GPU, of which NVML is played."""

import logging
import math

import pynvml
import pytest
from prometheus_client import CollectorRegistry

from runners.gpu import Gpu, _watch
from tests.runners.nvml import NUMBER, pretend


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def value(registry: CollectorRegistry, name: str) -> float | None:
    return registry.get_sample_value(f"facebento_gpu_{name}", {"device": "cuda:1"})


def test_memory_and_use_are_those_of_the_device(registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    told = pretend(monkeypatch)
    gpu = Gpu("cuda:1", registry)
    gpu.tell()
    assert value(registry, "memory_used_bytes") == 3 << 30
    assert value(registry, "memory_total_bytes") == 80 << 30
    assert value(registry, "utilization_ratio") == 0.25
    labels = {"device": "cuda:1", "name": "NVIDIA H100 80GB HBM3", "uuid": f"GPU-{NUMBER}", "driver": "580.82.07"}
    assert registry.get_sample_value("facebento_gpu_info", labels) == 1
    told.update(used=1, busy=100)
    gpu.tell()
    assert (value(registry, "memory_used_bytes"), value(registry, "utilization_ratio")) == (1, 1)


def test_of_a_part_of_a_gpu_its_memory_is_told(registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, kind="MIG")
    gpu = Gpu("cuda:1", registry)
    gpu.tell()
    gpu.tell()
    assert value(registry, "memory_used_bytes") == 3 << 30
    assert value(registry, "utilization_ratio") is None


@pytest.mark.parametrize("error", [pynvml.NVMLError_LibraryNotFound(), OSError("libcuda.so.1")])
def test_what_can_not_be_asked_is_said_once_and_harms_nothing(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pretend(monkeypatch)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    with caplog.at_level(logging.WARNING, "facebento.metrics"):
        _watch("cuda:1")
    [record] = caplog.records
    assert "cuda:1" in record.getMessage()


class Enough(BaseException):
    pass


def test_what_fails_once_is_asked_again_and_is_not_told_as_it_was(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pretend(monkeypatch)
    answers = iter([None, pynvml.NVMLError_Timeout(), pynvml.NVMLError_Timeout(), None, pynvml.NVMLError_GpuIsLost()])
    ask = pynvml.nvmlDeviceGetMemoryInfo
    told: list[float | None] = []

    def memory(handle: object) -> object:
        told.append(value(registry, "memory_used_bytes"))
        error = next(answers, Enough())
        if error is not None:
            raise error
        return ask(handle)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", memory)
    monkeypatch.setattr("runners.gpu.Gpu", lambda device: Gpu(device, registry))
    monkeypatch.setattr("runners.gpu.PAUSE_S", 0)
    with caplog.at_level(logging.WARNING, "facebento.metrics"), pytest.raises(Enough):
        _watch("cuda:1")
    assert [None if each is None else math.isnan(each) for each in told] == [None, False, True, True, False, True]
    assert math.isnan(value(registry, "utilization_ratio") or 0)
    assert ["Timeout" in record.getMessage() for record in caplog.records] == [True, False], "once for each time"
