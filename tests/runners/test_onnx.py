import ctypes
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from runners import onnx as engine_module
from runners.errors import DeviceUnavailableError
from runners.onnx import CPU, CUDA, LOST_AFTER, Engine, Placement, buckets, choose_device, cuda_devices

Rows = NDArray[np.uint8]


@pytest.fixture(scope="module")
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


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets how many CUDA devices there seem to be."""
    return lambda count: monkeypatch.setattr(engine_module, "cuda_devices", lambda: count)


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
    monkeypatch.setattr(engine_module, "cuda_devices", lambda: pytest.fail("asked"))
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


@pytest.mark.parametrize(
    ("most", "sizes"),
    [
        (1, [1]),
        (2, [1, 2]),
        (3, [1, 2, 3]),
        (8, [1, 2, 4, 8]),
        (12, [1, 2, 4, 8, 12]),
        (16, [1, 2, 4, 8, 16]),
        (33, [1, 2, 4, 8, 16, 32, 33]),
    ],
)
def test_buckets_are_powers_of_two_and_the_largest_batch(most: int, sizes: list[int]) -> None:
    assert buckets(most) == sizes


def test_on_a_cpu_every_row_of_a_batch_is_the_row_alone(graph: Path) -> None:
    engine = Engine(graph, device="cpu", threads=2, max_batch=4)
    assert engine.placement == Placement("cpu", CPU)
    alone = {count: np.concatenate([engine.run(row[None]) for row in pictures(count)]) for count in range(1, 12)}
    for count, expected in alone.items():
        found = engine.run(pictures(count))
        assert found.shape == (count, 5)
        assert found.dtype == np.float32
        assert np.array_equal(found, expected)


def test_an_engine_serves_many_threads_at_once(graph: Path) -> None:
    engine = Engine(graph, device="cpu", threads=2, max_batch=4)
    counts = [1 + i % 7 for i in range(200)]
    expected = {count: engine.run(pictures(count)) for count in set(counts)}
    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(lambda count: engine.run(pictures(count)), counts))
    assert all(np.array_equal(answer, expected[count]) for count, answer in zip(counts, answers, strict=True))


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
        monkeypatch.setattr(engine_module, "cuda_devices", lambda: 2)
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


def test_on_a_gpu_every_bucket_is_run_before_the_first_request(gpu: Gpu) -> None:
    engine = Engine(Path(), device="cuda:1", threads=1, max_batch=6)
    assert engine.placement == Placement("cuda:1", CUDA)
    assert gpu.asked == [[(CUDA, {"device_id": "1", "use_tf32": "0"}), CPU]]
    assert gpu.sessions[0].batches == [1, 2, 4, 6]


@pytest.mark.parametrize(
    ("count", "batches"), [(1, [1]), (2, [2]), (3, [4]), (5, [6]), (6, [6]), (7, [6, 1]), (15, [6, 6, 4])]
)
def test_on_a_gpu_batches_are_padded_to_a_bucket_and_cut_back(gpu: Gpu, count: int, batches: list[int]) -> None:
    engine = Engine(Path(), device="auto", threads=1, max_batch=6)
    session = gpu.sessions[0]
    session.batches.clear()
    rows = pictures(count)
    found = engine.run(rows)
    assert session.batches == batches
    assert found.tolist() == rows.reshape(count, -1).sum(axis=1, dtype=np.float32)[:, None].tolist()


def test_a_session_that_can_not_be_made_on_the_gpu_is_refused_with_its_reason(gpu: Gpu) -> None:
    gpu.fails = "out of memory"
    with pytest.raises(DeviceUnavailableError, match="out of memory"):
        Engine(Path(), device="cuda", threads=1, max_batch=4)


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_a_fall_back_to_the_cpu_is_refused_where_cuda_was_asked_for(gpu: Gpu, device: str) -> None:
    gpu.loads = False
    with pytest.raises(DeviceUnavailableError, match=r"CUDA could not be loaded.*serve-cuda\.txt"):
        Engine(Path(), device=device, threads=1, max_batch=4)


def test_a_fall_back_to_the_cpu_is_told_where_the_choice_was_free(gpu: Gpu, caplog: pytest.LogCaptureFixture) -> None:
    gpu.loads = False
    with caplog.at_level(logging.WARNING, "facebento.runners"):
        engine = Engine(Path(), device="auto", threads=1, max_batch=4)
    assert engine.placement == Placement("cpu", CPU)
    assert gpu.asked[-1] == [CPU]
    assert "Running on the CPU" in caplog.text


def test_the_cpu_is_never_left_where_it_was_asked_for(gpu: Gpu) -> None:
    assert Engine(Path(), device="cpu", threads=1, max_batch=4).placement.device == "cpu"
    assert gpu.asked == [[CPU]]


def marked(*marks: int) -> Rows:
    """A row for each mark, full of it."""
    return np.array([np.full((4, 4, 3), mark) for mark in marks], np.uint8)


def sums(answers: NDArray[np.float32]) -> list[float | None]:
    """The marks of the rows, from their sums; None for a row that could not be run."""
    return [None if np.isnan(answer) else float(answer) / 48 for [answer] in answers]


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_a_row_that_can_not_be_run_is_answered_nan_and_its_neighbours_as_ever(
    device: str, gpu: Gpu, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine(Path(), device=device, threads=2, max_batch=4)
    gpu.sessions[0].broken = {3, 6}
    answers = engine.run(marked(1, 2, 3, 4, 5, 6))
    assert answers.dtype == np.float32
    assert sums(answers) == [1, 2, None, 4, 5, None]
    assert not engine.lost
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in errors] == ["2 of 6 rows could not be run: CUDA out of memory"]


def test_a_batch_that_is_too_large_for_the_memory_is_run_row_by_row(gpu: Gpu) -> None:
    engine = Engine(Path(), device="cuda", threads=1, max_batch=4)
    session = gpu.sessions[0]
    session.fits = 1
    session.batches.clear()
    assert sums(engine.run(marked(1, 2, 3))) == [1, 2, 3]
    assert session.batches == [4, 1, 1, 1]


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_a_device_that_runs_nothing_again_and_again_is_lost(device: str, gpu: Gpu) -> None:
    engine = Engine(Path(), device=device, threads=1, max_batch=4)
    session = gpu.sessions[0]
    lost = []
    for broken in ({1}, {1}, set(), {1}, {1, 2}, {1}, {1, 2}, {1}):
        session.broken = broken
        engine.run(marked(1, 1) if broken != {1, 2} else marked(1, 2))
        lost.append(engine.lost)
    # The third run succeeds: the count begins anew.
    assert lost == [False] * 7 + [True]
    session.broken = set()
    engine.run(marked(1))
    assert not engine.lost


def test_runs_of_which_some_rows_succeed_are_no_lost_device(gpu: Gpu) -> None:
    engine = Engine(Path(), device="cuda", threads=1, max_batch=4)
    gpu.sessions[0].broken = {1}
    for _ in range(2 * LOST_AFTER):
        assert sums(engine.run(marked(1, 2))) == [None, 2]
        assert not engine.lost


def test_a_graph_is_also_taken_as_bytes(graph: Path) -> None:
    engines = [Engine(each, device="cpu", threads=1, max_batch=4) for each in (graph, graph.read_bytes())]
    assert np.array_equal(engines[0].run(pictures(3)), engines[1].run(pictures(3)))
