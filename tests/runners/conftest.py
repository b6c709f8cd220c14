"""A small graph, and CUDA devices that seem to be there."""

import asyncio
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from runners import onnx as devices
from runners.engine import Engine
from runners.onnx import CPU

Rows = NDArray[np.uint8]
Answers = Callable[[Engine, Rows], NDArray[np.float32]]


@pytest.fixture(scope="session")
def graph() -> bytes:
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
    model = helper.make_model(described, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


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


class Options:
    """Session options, as far as they are looked at."""

    rows = 0  # at a time; 0: any number

    def add_free_dimension_override_by_name(self, name: str, rows: int) -> None:
        assert name == "n"
        self.rows = rows


class GpuSession:
    """A session as on a GPU: it tells the sum of each row, and remembers the sizes of its batches."""

    def __init__(self, providers: list[str], rows: int, ran: list[int], fits: int) -> None:
        """ran: the sizes of the batches of all sessions. fits: rows of the largest that can be run."""
        self._providers = providers
        self._rows = rows
        self._ran = ran
        self.fits = fits  # rows
        self.broken: set[int] = set()  # the first values of the rows that it can't run

    def get_providers(self) -> list[str]:
        return self._providers

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="rows", shape=[self._rows or "n", 4, 4, 3])]

    def run(self, _: None, fed: dict[str, Rows]) -> list[NDArray[np.float32]]:
        [rows] = fed.values()
        assert rows.dtype == np.uint8
        assert self._rows in {0, len(rows)}, "onnxruntime makes the plans of its convolutions anew"
        self._ran.append(len(rows))
        if len(rows) > self.fits or self.broken & set(rows[:, 0, 0, 0].tolist()):
            raise RuntimeError("CUDA out of memory")
        return [rows.reshape(len(rows), -1).sum(axis=1, dtype=np.float32)[:, None]]


class Gpu:
    """Two CUDA devices, and sessions on whichever is asked for; or where onnxruntime can't load CUDA, on the CPU."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loads = True
        self.fails: dict[str, str] = {}  # what a session by a provider fails with
        self.room = 1000  # rows of the largest batch, of sessions that are yet to be opened
        self.asked: list[Any] = []
        self.graphs: list[bytes] = []
        self.sessions: list[GpuSession] = []
        self.batches: list[int] = []  # by their sizes, of all sessions
        monkeypatch.setattr(devices, "cuda_devices", lambda: 2)
        monkeypatch.setattr("runners.cuda.pinned", lambda shape, _: np.zeros(shape, np.uint8))
        monkeypatch.setattr(devices, "gpu_name", lambda _: "NVIDIA H100 80GB/PCIe")
        monkeypatch.setattr(devices, "_options", Options)
        monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
        monkeypatch.setattr(onnxruntime, "InferenceSession", self._session)

    def _session(self, graph: bytes, options: Options, *, providers: list[Any], enable_fallback: int) -> GpuSession:
        assert enable_fallback == 0, "a session that fails on the GPU would go on, on the CPU, in silence"
        names = [each if isinstance(each, str) else each[0] for each in providers]
        if names[0] in self.fails:
            raise RuntimeError(self.fails[names[0]])
        self.asked.append(providers)
        self.graphs.append(graph)
        self.sessions.append(GpuSession(names if self.loads else [CPU], options.rows, self.batches, self.room))
        return self.sessions[-1]

    def breaks(self, *marks: int) -> None:
        """Rows of these marks can't be run from now on, and all others can."""
        for session in self.sessions:
            session.broken = set(marks)

    def fits(self, rows: int) -> None:
        """Larger batches can't be run from now on."""
        for session in self.sessions:
            session.fits = rows


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    return Gpu(monkeypatch)
