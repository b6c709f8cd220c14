"""A small graph, and CUDA devices that seem to be there."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from runners import onnx as devices
from runners.engine import Engine
from runners.onnx import CPU, CUDA

Rows = NDArray[np.uint8]
Answers = Callable[[Engine, Rows], NDArray[np.float32]]


@pytest.fixture(scope="session")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """uint8 [n, 4, 4, 3] -> float32 [n, 5]: a cast and a matrix."""
    weights = np.random.default_rng(0).normal(0, 0.01, (48, 5)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["rows"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["floats"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["out"]),
    ]
    described = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("rows", TensorProto.UINT8, ["n", 4, 4, 3])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(weights, "weights")],
    )
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    onnx.save(helper.make_model(described, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def pictures(count: int) -> Rows:
    return np.random.default_rng(count).integers(0, 256, (count, 4, 4, 3), np.uint8)


def marked(*marks: int) -> Rows:
    """A row for each mark, full of it."""
    return np.array([np.full((4, 4, 3), mark) for mark in marks], np.uint8)


def sums(answers: NDArray[np.float32]) -> list[float | None]:
    """The marks of the rows, from their sums; None for a row that could not be run."""
    return [None if np.isnan(answer) else float(answer) / 48 for [answer] in answers]


@pytest.fixture
def answers() -> Iterator[Answers]:
    """Runs rows on an engine: in one event loop, as a server would."""
    with asyncio.Runner() as loop:
        yield lambda engine, rows: loop.run(engine.run(rows))


class GpuSession:
    """A session as on a GPU: it tells the sum of each row, and remembers the sizes of its batches."""

    def __init__(self, providers: list[str]) -> None:
        self._providers = providers
        self.batches: list[int] = []
        self.fits = 1000  # rows
        self.broken: set[int] = set()  # the first values of the rows that it can't run

    def get_providers(self) -> list[str]:
        return self._providers

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="rows", shape=["n", 4, 4, 3])]

    def run(self, _: None, fed: dict[str, Rows]) -> list[NDArray[np.float32]]:
        [rows] = fed.values()
        assert rows.dtype == np.uint8
        self.batches.append(len(rows))
        if len(rows) > self.fits or self.broken & set(rows[:, 0, 0, 0].tolist()):
            raise RuntimeError("CUDA out of memory")
        return [rows.reshape(len(rows), -1).sum(axis=1, dtype=np.float32)[:, None]]


class Gpu:
    """Two CUDA devices, and a session on whichever is asked for; or on the CPU, where onnxruntime can't load CUDA."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loads = True
        self.fails = ""
        self.asked: list[Any] = []
        self.sessions: list[GpuSession] = []
        monkeypatch.setattr(devices, "cuda_devices", lambda: 2)
        monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
        monkeypatch.setattr(onnxruntime, "InferenceSession", self._session)

    def _session(self, _: Path, __: Any, *, providers: list[Any], enable_fallback: int) -> GpuSession:
        assert enable_fallback == 0, "a session that fails on the GPU would go on, on the CPU, in silence"
        if self.fails:
            raise RuntimeError(self.fails)
        self.asked.append(providers)
        self.sessions.append(GpuSession([CUDA, CPU] if self.loads and len(providers) > 1 else [CPU]))
        return self.sessions[-1]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    return Gpu(monkeypatch)
