"""What Prometheus is told of a runner's GPU: how much of it is in use, by whomever."""

import logging
import math
import threading
from functools import cache
from typing import Any

import pynvml
from prometheus_client import REGISTRY, CollectorRegistry, Gauge

from runners.onnx import gpu_uuid

log = logging.getLogger("facebento.metrics")

PAUSE_S = 5.0


@cache
def watch(device: str) -> None:
    """Tell of a device, cuda:N, for as long as this process lives. Where it can't be asked, the log says so, and it is
    asked again. Several runners in one process may ask for it.

    On a thread of its own: a driver that hangs holds up nothing else.
    """
    threading.Thread(target=_watch, args=(device,), name="gpu", daemon=True).start()


def _watch(device: str) -> None:
    # Whatever it is that fails: the model runs all the same.
    try:
        gpu = Gpu(device)
    except Exception as error:  # noqa: BLE001
        _warn(device, error)
        return
    failed = False
    while True:
        try:
            gpu.tell()
        except Exception as error:  # noqa: BLE001
            gpu.tell_nothing()
            if not failed:
                _warn(device, error)
            failed = True
        else:
            failed = False
        threading.Event().wait(PAUSE_S)


def _warn(device: str, error: Exception) -> None:
    log.warning("/metrics does not tell of %s, which NVIDIA's NVML can't be asked for: %s", device, error)


class Gpu:
    """One device. Several runners may have it: the one that told last counts."""

    def __init__(self, device: str, registry: CollectorRegistry = REGISTRY) -> None:
        """device: cuda:N, as this process counts them; NVML counts all of the host. Raises pynvml.NVMLError."""
        pynvml.nvmlInit()
        uuid = gpu_uuid(device)
        self._handle, found = _handle(uuid)
        self._device = device
        self._registry = registry
        info = self._gauge("facebento_gpu_info", "1; what the device is", "name", "uuid", "driver")
        driver = pynvml.nvmlSystemGetDriverVersion()
        info.labels(device, pynvml.nvmlDeviceGetName(self._handle), found, driver).set(1)
        self._used = self._gauge("facebento_gpu_memory_used_bytes", "Of the device's memory, by all that use it")
        self._total = self._gauge("facebento_gpu_memory_total_bytes", "Of the device")
        self._busy: Gauge | None = self._gauge(
            "facebento_gpu_utilization_ratio", "Of the time lately, in which something ran on the device"
        )

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, ["device", *labels], multiprocess_mode="livemostrecent", registry=self._registry)

    def tell(self) -> None:
        """Raises pynvml.NVMLError."""
        memory = pynvml.nvmlDeviceGetMemoryInfo(self._handle)
        self._used.labels(self._device).set(memory.used)
        self._total.labels(self._device).set(memory.total)
        if self._busy is None:
            return
        try:
            busy = pynvml.nvmlDeviceGetUtilizationRates(self._handle).gpu
        except pynvml.NVMLError_NotSupported:
            self._busy = None  # of a part of a GPU (MIG) nobody knows
        else:
            self._busy.labels(self._device).set(busy / 100)

    def tell_nothing(self) -> None:
        """What was told last would be taken for what is so now; and prometheus_client can't take it back."""
        for gauge in (self._used, self._total, self._busy):
            if gauge is not None:
                gauge.labels(self._device).set(math.nan)


def _handle(uuid: str) -> tuple[Any, str]:
    """NVML's of a GPU or, which the driver calls the same, a part of one; and what NVML calls it."""
    try:
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}"), f"GPU-{uuid}"
    except pynvml.NVMLError:
        return pynvml.nvmlDeviceGetHandleByUUID(f"MIG-{uuid}"), f"MIG-{uuid}"
