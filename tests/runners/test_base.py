import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml.exceptions import BentoMLException, ServiceUnavailable
from numpy.typing import NDArray

from models import store
from models.catalog import describe
from models.errors import ChecksumError
from models.store import StoredModel
from runners import onnx
from runners.base import NAMES, Runner, RunnerOptions, before_start
from runners.detector import detector_runner
from runners.embedder import embedder_runner
from runners.errors import DeviceUnavailableError
from threads import Threads

OPTIONS = RunnerOptions(device="cpu", threads=2, max_batch=16, deadline_s=12.5)


@pytest.fixture
def damaged(tmp_path: Path) -> StoredModel:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not what was stored")
    description = describe("centerface")
    return StoredModel(description=description, path=path, tag=description.tag, prepared_sha256="0" * 64)


class Sound(StoredModel):
    """A stored model that passes for whole."""

    def verify(self) -> None:
        pass

    def read(self) -> bytes:
        return b""


def test_a_runner_waits_as_long_as_the_request_may() -> None:
    assert OPTIONS.service["traffic"]["timeout"] == 12.5


def test_queued_work_is_dropped_by_the_deadline_and_not_before_by_a_guess_at_it(damaged: StoredModel) -> None:
    batching = OPTIONS.batching("detect", damaged)
    assert {"batchable": True, "max_batch_size": 16, "max_latency_ms": 125000}.items() <= batching.items()


def test_a_caller_that_serves_another_version_of_the_model_finds_no_such_route(damaged: StoredModel) -> None:
    other = damaged.description.model_copy(update={"summary": "another"})
    routes = {
        OPTIONS.batching("detect", replace(damaged, description=each))["route"] for each in (damaged.description, other)
    }
    assert len(routes) == 2
    assert detector_runner(damaged, OPTIONS).apis["detect"].route in routes
    embedder = replace(damaged, description=describe("dlib-resnet-v1"))
    assert embedder.description.version in embedder_runner(embedder, OPTIONS).apis["embed"].route


def test_a_damaged_model_stops_the_start_in_one_line(damaged: StoredModel) -> None:
    with pytest.raises(ChecksumError, match="damaged") as told:
        before_start(damaged, OPTIONS)()
    assert "\n" not in str(told.value)
    # The kind that BentoML's commands end with in one line.
    assert isinstance(told.value, BentoMLException)


def test_a_missing_device_stops_the_start(damaged: StoredModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "cuda_devices", lambda: 0)
    whole = Sound(damaged.description, damaged.path, damaged.tag, damaged.prepared_sha256)
    with pytest.raises(DeviceUnavailableError, match="cuda was asked for") as told:
        before_start(whole, RunnerOptions("cuda", 1, 1, 1))()
    assert isinstance(told.value, BentoMLException)
    before_start(whole, RunnerOptions("auto", 1, 1, 1))()


def test_a_missing_tensorrt_stops_the_start(damaged: StoredModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "cuda_devices", lambda: 1)
    monkeypatch.setattr("onnxruntime.preload_dlls", lambda: None)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    whole = Sound(damaged.description, damaged.path, damaged.tag, damaged.prepared_sha256)
    before_start(whole, RunnerOptions("cuda", 1, 1, 1))()
    before_start(whole, RunnerOptions("cpu", 1, 1, 1, "tensorrt"))()
    with pytest.raises(DeviceUnavailableError, match="TensorRT was asked for"):
        before_start(whole, RunnerOptions("cuda", 1, 1, 1, "tensorrt"))()


def test_a_runner_does_not_load_a_damaged_model(damaged: StoredModel) -> None:
    with pytest.raises(ChecksumError):
        Runner(damaged, OPTIONS)


def test_the_bytes_that_were_verified_are_the_ones_that_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file that is changed once it was hashed changes nothing."""
    stored = store.find("centerface")
    path = tmp_path / "model.onnx"
    path.write_bytes(stored.path.read_bytes())
    read = StoredModel.read

    def read_and_change(self: StoredModel) -> bytes:
        graph = read(self)
        path.write_bytes(b"another")
        return graph

    monkeypatch.setattr(StoredModel, "read", read_and_change)
    runner = Runner(replace(stored, path=path), OPTIONS)
    assert asyncio.run(runner.placement())["model"] == stored.tag


class Failing:
    """An engine that is lost after so many runs."""

    def __init__(self, runs: int) -> None:
        self._left = runs
        self.placement = onnx.Placement("cuda:0", onnx.CUDA)

    @property
    def lost(self) -> bool:
        return self._left <= 0

    async def run(self, rows: Any) -> Any:
        self._left -= 1
        return rows


def test_a_runner_whose_device_is_lost_says_so_and_ends(damaged: StoredModel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Sound(damaged.description, damaged.path, damaged.tag, damaged.prepared_sha256)
    monkeypatch.setattr("runners.base.open_engine", lambda *_, **__: Failing(2))
    ended: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *told: ended.append(told))
    runner = Runner(whole, OPTIONS)

    async def told() -> tuple[bool, bool]:
        return await runner.__is_alive__(), await runner.__is_ready__()

    rows = np.zeros((1, 2), np.uint8)
    assert asyncio.run(runner._run(rows)).tolist() == [[0, 0]]
    assert asyncio.run(told()) == (True, True)
    assert asyncio.run(runner.placement())["device"] == "cuda:0"
    assert ended == []
    assert asyncio.run(runner._run(rows)).tolist() == [[0, 0]]
    assert asyncio.run(told()) == (False, False)
    with pytest.raises(ServiceUnavailable):
        asyncio.run(runner.placement())
    assert ended == [(os.getpid(), signal.SIGTERM)]


@pytest.mark.parametrize(
    ("device", "workers"), [("cpu", 1), ("auto", 1), ("cuda", 1), ("cuda:3", 1), ("cuda:0,2", 2), ("cuda:2,0,1", 3)]
)
def test_a_runner_has_a_process_for_each_device(device: str, workers: int) -> None:
    assert replace(OPTIONS, device=device).service["workers"] == workers


def test_each_process_of_a_runner_opens_its_own_device(damaged: StoredModel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Sound(damaged.description, damaged.path, damaged.tag, damaged.prepared_sha256)
    asked: list[Any] = []

    def opened(graph: bytes, **told: Any) -> Failing:
        assert graph == b""
        asked.append((told["device"], told["worker"], told["gpu_engine"], told["engines"]))
        return Failing(1)

    monkeypatch.setattr("runners.base.open_engine", opened)
    options = replace(OPTIONS, device="cuda:0,1", gpu_engine="tensorrt")
    # Not in the model's folder, all of which goes into a bento.
    home = Path(BentoMLContainer.bentoml_home.get())
    engines = home / "engines" / damaged.description.id / ("0" * 16)
    for index in (None, 1, 2):
        monkeypatch.setattr(bentoml.server_context, "worker_index", index)
        Runner(whole, options)
    assert asked == [("cuda:0,1", worker, "tensorrt", engines) for worker in (1, 1, 2)]


def test_a_process_of_a_runner_has_the_device_that_it_claims(
    damaged: StoredModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """BentoML's number of a process shifts with each that is replaced."""
    whole = Sound(damaged.description, damaged.path, damaged.tag, damaged.prepared_sha256)
    workers: list[int] = []
    claimed: list[Any] = []
    places = [0, 1, None]

    def opened(_: bytes, **told: Any) -> Failing:
        workers.append(told["worker"])
        return Failing(1)

    def claim(*asked: Any, at_most_s: float) -> int | None:
        assert at_most_s < OPTIONS.deadline_s
        claimed.append(asked)
        return places.pop(0)

    monkeypatch.setattr("runners.base.open_engine", opened)
    monkeypatch.setattr("runners.base.claim", claim)
    monkeypatch.setattr("runners.base.unix_sockets", lambda: {"detector": tmp_path / "detector.sock"})
    monkeypatch.setattr(bentoml.server_context, "worker_index", 3)
    monkeypatch.setattr(bentoml.server_context, "service_name", "detector")
    for _ in range(3):
        Runner(whole, replace(OPTIONS, device="cuda:1,3"))
    Runner(whole, replace(OPTIONS, device="cuda:1"))
    monkeypatch.setattr(bentoml.server_context, "service_name", "facebento")
    Runner(whole, replace(OPTIONS, device="cuda:1,3"))
    assert workers == [1, 2, 3, 3, 3]
    assert claimed == [([1, 3], "detector", tmp_path)] * 3


def test_the_runners_go_by_the_names_that_stopping_knows_them_by() -> None:
    stored = store.find("centerface"), store.find("dlib-resnet-v1")
    assert {detector_runner(stored[0], OPTIONS).name, embedder_runner(stored[1], OPTIONS).name} == NAMES


def test_a_runner_in_the_process_of_its_caller_is_called_without_a_server(astronaut: NDArray[np.uint8]) -> None:
    """As BentoML's Dependency.get makes it where no process of the runner's own was started."""
    threads = Threads(2, "test")
    options = replace(OPTIONS, compute=threads)
    detector = detector_runner(store.find("centerface"), options)()
    embedder = embedder_runner(store.find("dlib-resnet-v1"), options)()

    async def scenario() -> None:
        canvases = np.zeros((3, 640, 640, 3), np.uint8)
        canvases[1:, :512, :512] = astronaut
        candidates = await detector.to_async.detect(canvases)
        assert candidates.shape == (3, 1024, 15)
        assert (candidates[:, 0, 4] > 0.5).tolist() == [False, True, True]
        embeddings = await embedder.to_async.embed(np.zeros((1, 150, 150, 3), np.uint8))
        assert np.linalg.norm(embeddings, axis=1) == pytest.approx([1])
        assert (await embedder.to_async.placement())["device"] == "cpu"

    asyncio.run(scenario())
    # What it ran on are the threads that it was lent.
    assert [engine._engine._threads for engine in (detector, embedder)] == [threads, threads]
