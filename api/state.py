"""What Prometheus is told of the service as it is now: gauges, set anew every second."""

import asyncio
import logging
import platform
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import metadata
from typing import Literal, Protocol

from prometheus_client import REGISTRY, CollectorRegistry, Gauge

import api
from api.admission import Admission
from memory import ImageMemory
from models.store import StoredModel
from runners import onnx

log = logging.getLogger("facebento.metrics")

PAUSE_S = 1.0

# How one number is made of those of several API processes.
Together = Literal["livesum", "livemin", "livemax"]


class Runner(Protocol):
    @property
    def present(self) -> bool: ...


class Served(Protocol):
    """What there is to tell of."""

    @property
    def models(self) -> Sequence[StoredModel]: ...

    @property
    def runners(self) -> Mapping[str, Runner]: ...  # by name

    @property
    def ready(self) -> bool: ...

    @property
    def concurrency(self) -> int: ...  # requests that may be worked on

    @property
    def image_memory(self) -> ImageMemory: ...


class State:
    """The gauges of one API process. A second is more often than anybody asks, and costs a request nothing."""

    def __init__(
        self, served: Served, admission: Admission, *, deadline_s: float, registry: CollectorRegistry = REGISTRY
    ) -> None:
        self._served = served
        self._admission = admission
        self._deadline_s = deadline_s
        self._registry = registry

    def _gauge(self, name: str, text: str, labels: Sequence[str] = (), together: Together = "livesum") -> Gauge:
        return Gauge(f"facebento_{name}", text, labels, multiprocess_mode=together, registry=self._registry)

    @cached_property
    def _ready(self) -> Gauge:
        return self._gauge("ready", "1 where every API process sees both runners, as /readyz tells", (), "livemin")

    @cached_property
    def _runner_up(self) -> Gauge:
        return self._gauge("runner_up", "1 where every API process has an answer of the runner", ["runner"], "livemin")

    @cached_property
    def _requests(self) -> Gauge:
        text = "Requests with a key in flight: their body arrives, they wait for a place, or they are worked on"
        return self._gauge("requests_in_flight", text, ["state"])

    @cached_property
    def _requests_limit(self) -> Gauge:
        return self._gauge("requests_limit", "Requests that may be in flight, and that may be worked on", ["bound"])

    @cached_property
    def _memory(self) -> Gauge:
        return self._gauge("memory_held_bytes", "Of what may be held for bodies and for decoded images", ["of"])

    @cached_property
    def _memory_limit(self) -> Gauge:
        return self._gauge("memory_limit_bytes", "That may be held for bodies and for decoded images", ["of"])

    def begin(self) -> None:
        """Tell what does not change."""
        self._gauge(
            "build_info",
            "1; the versions are in its labels",
            ["version", "bentoml", "onnxruntime", "python"],
            "livemax",
        ).labels(api.__version__, metadata.version("bentoml"), onnx.version(), platform.python_version()).set(1)
        info = self._gauge(
            "model_info",
            "1; the models that are served are in its labels",
            ["runner", "model", "version", "fingerprint"],
            "livemax",
        )
        for model in self._served.models:
            told = model.description
            info.labels(told.role, told.id, told.version, told.fingerprint if told.embedder else "").set(1)
        self._gauge("deadline_seconds", "After which a request is given up", (), "livemax").set(self._deadline_s)
        self.tell()

    def tell(self) -> None:
        self._ready.set(self._served.ready)
        for name, runner in self._served.runners.items():
            self._runner_up.labels(name).set(runner.present)
        for state, count in self._admission.requests.items():
            self._requests.labels(state).set(count)
        self._requests_limit.labels("in_flight").set(self._admission.max_in_flight)
        self._requests_limit.labels("working").set(self._served.concurrency)
        bodies, bodies_limit = self._admission.body_bytes
        images = self._served.image_memory
        self._memory.labels("bodies").set(bodies)
        self._memory.labels("images").set(images.limit_bytes - images.free_bytes)
        self._memory_limit.labels("bodies").set(bodies_limit)
        self._memory_limit.labels("images").set(images.limit_bytes)

    async def watch(self) -> None:
        """Tell it again and again, until cancelled."""
        tell = self.begin
        while True:
            try:
                tell()
            except Exception:
                # Whatever it is: requests are answered, and the next second may tell again.
                log.exception("the state of the service could not be told to Prometheus")
            tell = self.tell
            await asyncio.sleep(PAUSE_S)
