"""The gauges of an API process, in a registry of their own."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry

import api
from api.admission import Admission
from api.state import Runner, State
from memory import ImageMemory
from models.catalog import describe
from models.store import StoredModel, expected


@dataclass
class Stub:
    present: bool = True


@dataclass
class Served:
    ready: bool = True
    runners: Mapping[str, Runner] = field(default_factory=lambda: {"detector": Stub(), "embedder": Stub(present=False)})
    models: Sequence[StoredModel] = field(
        default_factory=lambda: [expected(describe(name)) for name in ("centerface", "dlib-resnet-v1")]
    )
    image_memory: ImageMemory = field(default_factory=lambda: ImageMemory(1000))


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def admission() -> Admission:
    return Admission(places=lambda: 1, max_in_flight=5, max_body_memory_bytes=100, patience_s=9)


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"facebento_{name}", labels)


def states(registry: CollectorRegistry) -> list[float | None]:
    return [value(registry, "requests_in_flight", state=each) for each in ("receiving", "waiting", "working")]


def test_what_is_in_flight_and_what_is_held(registry: CollectorRegistry, admission: Admission) -> None:
    served = Served()
    state = State(served, admission, deadline_s=30, registry=registry)

    async def scenario() -> None:
        with admission.enter(), admission.enter() as waiting, admission.enter() as working:
            working.hold(60)
            await working.work()
            waits = asyncio.create_task(waiting.work())
            await asyncio.sleep(0)
            async with served.image_memory.hold(400):
                state.tell()
            waits.cancel()

    asyncio.run(scenario())
    assert states(registry) == [1, 1, 1]
    assert [value(registry, "requests_limit", bound=each) for each in ("working", "in_flight")] == [1, 5]
    assert [value(registry, "memory_held_bytes", of=each) for each in ("bodies", "images")] == [60, 400]
    assert [value(registry, "memory_limit_bytes", of=each) for each in ("bodies", "images")] == [100, 1000]
    state.tell()
    assert states(registry) == [0, 0, 0]
    assert [value(registry, "memory_held_bytes", of=each) for each in ("bodies", "images")] == [0, 0]


def test_whether_it_is_ready_and_which_runner_is_missing(registry: CollectorRegistry, admission: Admission) -> None:
    served = Served()
    state = State(served, admission, deadline_s=30, registry=registry)
    state.tell()
    assert value(registry, "ready") == 1
    assert [value(registry, "runner_up", runner=each) for each in ("detector", "embedder")] == [1, 0]
    served.ready = False
    state.tell()
    assert value(registry, "ready") == 0


def test_what_does_not_change(registry: CollectorRegistry, admission: Admission) -> None:
    State(Served(), admission, deadline_s=45, registry=registry).begin()
    assert value(registry, "deadline_seconds") == 45
    families = {family.name: family.samples for family in registry.collect()}
    [build] = families["facebento_build_info"]
    assert build.labels["version"] == api.__version__
    embedder = describe("dlib-resnet-v1")
    labels = {
        "runner": "embedder",
        "model": embedder.id,
        "version": embedder.version,
        "fingerprint": embedder.fingerprint,
    }
    assert labels in [sample.labels for sample in families["facebento_model_info"]]
    assert len(families["facebento_model_info"]) == 2


def test_it_is_told_again_after_a_failure(
    registry: CollectorRegistry, admission: Admission, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("api.state.PAUSE_S", 0)
    served = Served()
    served.runners = {"detector": None}  # type: ignore[dict-item]
    state = State(served, admission, deadline_s=30, registry=registry)

    async def scenario() -> None:
        watch = asyncio.create_task(state.watch())
        with caplog.at_level(logging.ERROR, "facebento.metrics"):
            while not caplog.records:  # noqa: ASYNC110  there is no event to wait for
                await asyncio.sleep(0)
        served.runners = {"detector": Stub()}
        while value(registry, "runner_up", runner="detector") != 1:  # noqa: ASYNC110  as above
            await asyncio.sleep(0)
        watch.cancel()

    asyncio.run(scenario())
