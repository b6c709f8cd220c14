"""A GPU as NVIDIA's library and driver tell of it, where there is none."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pynvml
import pytest

NUMBER = UUID("0123456789abcdef0123456789abcdef")


def pretend(monkeypatch: pytest.MonkeyPatch, *, kind: str = "GPU") -> dict[str, Any]:
    """kind: GPU, or MIG for a part of one. Returns what it tells, which may be changed."""
    told: dict[str, Any] = {"used": 3 << 30, "total": 80 << 30, "busy": 25}

    def handle(uuid: str) -> str:
        if uuid != f"{kind}-{NUMBER}":
            raise pynvml.NVMLError_NotFound
        return uuid

    def busy(_: str) -> object:
        if kind == "MIG":
            raise pynvml.NVMLError_NotSupported
        return SimpleNamespace(gpu=told["busy"])

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", handle)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetName", lambda _: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(pynvml, "nvmlSystemGetDriverVersion", lambda: "580.82.07")
    monkeypatch.setattr(
        pynvml, "nvmlDeviceGetMemoryInfo", lambda _: SimpleNamespace(used=told["used"], total=told["total"])
    )
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", busy)
    monkeypatch.setattr("runners.gpu.gpu_uuid", lambda _: str(NUMBER))
    return told
