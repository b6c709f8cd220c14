"""What both runners have in common."""

import asyncio
import logging
import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml.exceptions import ServiceUnavailable
from numpy.typing import NDArray

import exposition
from memory import keep_what_is_there, return_freed_memory
from models.store import StoredModel
from runners import gpu, metrics
from runners.batching import PromptService
from runners.claim import claim
from runners.cpu import CpuEngine
from runners.onnx import choose_device, device_numbers, load_tensorrt
from runners.opening import GpuEngine, open_engine
from runners.sockets import unix_sockets
from runners.stopping import leave_last
from runners.wire import NoInput, rows_of
from threads import Threads
from tracing import Spans

log = logging.getLogger("facebento.runners")

NAMES = frozenset({"detector", "embedder"})  # of the services that are runners
REPLACED_S = 10  # for a process that is replaced to be done with what it has in work, and to leave its GPU


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    device: str  # auto, cpu, cuda, cuda:N or cuda:N,M
    threads: int  # images at a time on a CPU
    max_batch: int  # rows in a batch
    deadline_s: float  # after which nobody waits for an answer
    gpu_engine: GpuEngine = "cuda"
    # What a runner that is on a CPU, and in a process with others, shares with them; it has its own where None.
    compute: Threads | None = None
    spans: Spans | None = None  # where traces are collected

    def batching(self, name: str, stored: StoredModel) -> dict[str, Any]:
        """For @bentoml.api, of the method of that name, which takes uint8 [n, size, size, 3]."""
        size = stored.description.input.size
        return {
            "input_spec": rows_of(size, size, 3),
            # Where API and runners are pods of their own, an update has both the old and the new ones at a time. A
            # caller that serves another version of the model finds no such route, instead of vectors of another model.
            "route": f"/{name}/{stored.description.version}",
            "batchable": True,
            "max_batch_size": self.max_batch,
            # Not the wait for a batch: the age at which BentoML drops queued work with 503, or at which it expects it
            # to be done. Ten deadlines are never reached: the caller gives up at one.
            "max_latency_ms": int(self.deadline_s * 10_000),
        }

    @property
    def service(self) -> dict[str, Any]:
        """For @bentoml.service. The reasons are in docs/decisions/0002-bentoml-settings.md."""
        return {
            "service_class": PromptService,
            "workers": len(device_numbers(self.device)),  # one for each device
            "traffic": {"timeout": self.deadline_s},
            # A line for each call, in a format of its own.
            "logging": {"access": {"enabled": False}},
        }


def before_start(stored: StoredModel, options: RunnerOptions) -> Any:
    """A hook for a service: finds what would stop the runner, once, before BentoML starts processes of it.

    In the process that is to run it, it would come again with each restart, at the end of a traceback.
    """

    def check() -> None:
        stored.verify()
        exposition.make_folder()
        if choose_device(options.device) != "cpu" and options.gpu_engine == "tensorrt":
            load_tensorrt()

    return bentoml.on_deployment(check)


def _engines(stored: StoredModel) -> Path:
    """TensorRT's of this very graph. Beside the store: all that is in a model's folder goes into a bento."""
    home = Path(BentoMLContainer.bentoml_home.get())
    return home / "engines" / stored.description.id / stored.prepared_sha256[:16]


class Runner:
    """A model, loaded, verified and warmed up: BentoML reports the service ready after this."""

    spans: Spans | None = None

    def __init__(self, stored: StoredModel, options: RunnerOptions) -> None:
        return_freed_memory()
        graph = stored.read()
        self._tag = stored.tag
        self._name = stored.description.role
        self._alone = bentoml.server_context.service_type == "service"  # in a process of its own
        if self._alone:
            exposition.begin(self._name)
            own = unix_sockets().get(bentoml.server_context.service_name or "")
            leave_last(NAMES, socket=own, at_most_s=options.deadline_s)
        compute = options.compute or Threads(options.threads, "onnx")
        self._engine = open_engine(
            graph,
            device=options.device,
            threads=compute,
            max_batch=options.max_batch,
            gpu_engine=options.gpu_engine,
            engines=_engines(stored),
            worker=self._worker(device_numbers(options.device)),
        )
        placement = self._engine.placement
        self._runs = metrics.runs()
        self._runs.begin(self._name, placement)
        if placement.device != "cpu":
            gpu.watch(placement.device)
        log.info("%s runs on %s by %s in %s", stored.tag, placement.device, placement.provider, placement.precision)
        # For spans.
        self.facts = {
            "facebento.model": stored.tag,
            "facebento.device": placement.device,
            "facebento.provider": placement.provider,
            "facebento.precision": placement.precision,
        }
        if self._alone and self.spans:
            self.spans.start(stored.description.role)
        keep_what_is_there()

    @bentoml.on_shutdown
    async def leave(self) -> None:
        if self._alone and self.spans:
            await asyncio.to_thread(self.spans.stop)

    @property
    def lost(self) -> bool:
        """Whether nothing can be run any more."""
        return self._engine.lost

    @staticmethod
    def _worker(devices: Sequence[int]) -> int:
        """Which of the processes that share these devices this one is, from 1."""
        context = bentoml.server_context
        service = context.service_name or ""
        if len(devices) > 1 and service in NAMES:
            socket = unix_sockets().get(service)
            folder = socket.parent if socket else Path(tempfile.gettempdir())
            place = claim(devices, service, folder, at_most_s=REPLACED_S)
            if place is not None:
                return place + 1
        return context.worker_index or 1

    @bentoml.api(input_spec=NoInput)
    async def placement(self) -> dict[str, str]:
        """The model's tag, the device and onnxruntime's provider in use. Answers while a batch runs: a sign of life.

        Raises ServiceUnavailable where the device is lost.
        """
        if self._engine.lost:
            raise ServiceUnavailable("The device is lost.")
        placement = self._engine.placement
        return {"model": self._tag, "device": placement.device, "provider": placement.provider}

    async def __is_alive__(self) -> bool:
        """For BentoML's /livez."""
        return not self._engine.lost

    async def __is_ready__(self) -> bool:
        """For BentoML's /readyz."""
        return not self._engine.lost

    @property
    def here(self) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]] | None:
        """What the runner's method does, for one row, on the thread of a caller in the same process; None where it is
        not the caller's thread that computes.
        """
        engine = self._engine
        if not isinstance(engine, CpuEngine):
            return None

        def run(row: NDArray[np.uint8]) -> NDArray[np.float32]:
            began = time.perf_counter()
            answer = engine.run_here(row)
            self._runs.ran(self._name, 1, time.perf_counter() - began)
            self._end_if_lost()
            return answer

        return run

    async def _run(self, rows: NDArray[np.uint8]) -> NDArray[np.float32]:
        began = time.perf_counter()
        answers = await self._engine.run(rows)
        self._runs.ran(self._name, len(rows), time.perf_counter() - began)
        self._end_if_lost()
        return answers

    def _end_if_lost(self) -> None:
        if self._engine.lost:
            # Whoever watches the process starts another one, and with it a session on the device. SIGTERM lets the
            # calls in work be answered: those of a runner's own process, and the requests of an API process that the
            # runner is in, whose server stops listening, answers what it has and ends as on any SIGTERM.
            log.error("%s answers nothing any more: its process ends, to be started again", self._tag)
            os.kill(os.getpid(), signal.SIGTERM)
