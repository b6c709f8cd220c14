"""FaceService: the BentoML service, its two runners, and the gate to its endpoints (api/endpoints.py, api/info.py)."""

import asyncio
import logging
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import bentoml
from _bentoml_sdk import Service
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.utils.analytics.usage_stats import do_not_track
from starlette.routing import Match, Route
from starlette.types import Scope

import api
import exposition
from api import connections, logs, settings
from api.access import AccessLog, Endpoints, Entrance
from api.admission import Admission
from api.app import create_app
from api.choice import chosen
from api.docs import docs_api
from api.endpoints import faces_api
from api.gate import Gate
from api.info import info_api
from api.keys import KeyRing
from api.metrics import Requests
from api.page import page_api
from api.state import State
from api.tracing import RequestSpans
from memory import ImageMemory, keep_what_is_there, return_freed_memory
from models import packing
from pipeline import Pipeline
from runners.app import AppFactory
from runners.base import NAMES, RunnerOptions
from runners.client import BUILDING_S, STARTING_S, RunnerClient
from runners.detector import detector_runner
from runners.embedder import embedder_runner
from runners.onnx import cpu_only
from runners.sockets import keep_sockets
from search import SearchOptions
from threads import Threads
from tracing import Spans

log = logging.getLogger("facebento.service")
# BentoML sets up its handler before, and lets only its own loggers say what is not a warning.
logging.getLogger("facebento").setLevel(logging.INFO)
logs.configure()
exposition.install()

# What serves faces in a company's own network reports to nobody outside it. `bentoml serve` has looked at the variable
# by now, and remembers what it saw.
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
do_not_track.cache_clear()


arguments = bentoml.use_arguments(packing.BentoArguments)
configured = settings.load(arguments.model_dump(include={"detector", "embedder"}, exclude_none=True))
# What a bento that is built of this will remember: its models, but not what its builder put up with.
BentoMLContainer.bento_arguments.set({"detector": configured.detector, "embedder": configured.embedder})
detector_model = chosen("detector", configured.detector, arguments.allow)
embedder_model = chosen("embedder", configured.embedder, arguments.allow)


workers = configured.api_workers


def _share(count: int) -> int:
    """Of each API process, of what is set for all together."""
    return -(-count // workers)


def _uneven_share(requests: int) -> int:
    """Which process a connection comes to is chance: with its share alone, one refuses what others have room for."""
    return _share(requests if workers == 1 else 2 * requests)


# BentoML tells the processes that it starts where the runners are. Where it tells of none they live in the API process,
# and share its threads.
inside = NAMES.isdisjoint(BentoMLContainer.remote_runner_mapping.get())
compute = Threads(_share(configured.threads), "compute") if inside else None
spans = Spans(configured.traces, api.__version__) if configured.traces else None


def _options(max_batch: int) -> RunnerOptions:
    return RunnerOptions(
        configured.device,
        configured.threads,
        max_batch,
        configured.deadline_s,
        configured.gpu_engine,
        compute,
        spans,
    )


Detector = detector_runner(detector_model, _options(configured.detector_batch_size))
Embedder = embedder_runner(embedder_model, _options(configured.embedder_batch_size))


def guarded(scope: Scope) -> bool:
    """Whether the router would take it to a guarded endpoint: the router itself is asked, not a list of paths."""
    return any(route.matches(scope)[0] is Match.FULL for route in faces_api.routes)


# Measured on two cores: throughput is the same from four clients on. Fewer places than a CPU's usual clients would only
# make refusals; a GPU works on larger batches.
CONCURRENCY_PER_THREAD = 8
CONCURRENCY_ON_GPU = 128


keys = KeyRing(configured.keys)
app = create_app(info_api, faces_api, page_api, docs_api)
requests = Requests(deadline_s=configured.deadline_s)
admission = Admission(
    places=lambda: bentoml.get_current_service().concurrency,
    max_in_flight=_uneven_share(configured.max_in_flight),
    max_body_memory_bytes=configured.max_body_memory_bytes,
    # What waits any longer can hardly be done before its deadline.
    patience_s=0.9 * configured.deadline_s,
    count=requests.admission,
)
gate = Gate(
    app,
    guarded=guarded,
    keys=keys,
    admission=admission,
    max_body_bytes=configured.max_body_bytes,
    deadline_s=configured.deadline_s,
    admitted=RequestSpans(spans).begin if spans else None,
)


class PackedService(Service["FaceService"]):
    """The service with what is around it: its labels, for a bento, and its outermost layer, for a server."""

    def to_asgi(self, is_main: bool = True) -> Any:
        """BentoML calls it in the processes of this service, not in the runners', before it starts the server."""
        connections.install()
        self.inject_config()
        served = AppFactory(self, is_main=is_main)()
        of_bentoml = {route.path for route in served.routes if isinstance(route, Route)}
        routes = [*info_api.routes, *faces_api.routes, *page_api.routes, *docs_api.routes, *app.routes]
        return Entrance(served, Endpoints(routes, of_bentoml))

    def all_services(self, exclude_urls: bool = False) -> dict[str, Service[Any]]:
        """BentoML asks for those that are not elsewhere (exclude_urls) when it starts a process for each of them. The
        runner of one that has none is made in the process that depends on it (bentoml.depends).
        """
        if exclude_urls and configured.runners_inside(on_cpu=cpu_only(configured.device)):
            return {self.name: self}
        services: dict[str, Service[Any]] = super().all_services(exclude_urls=exclude_urls)
        return services

    @property
    def labels(self) -> dict[str, str]:
        """For a bento, and asked for only when one is built.

        Raises PackingError where a model must not go into a bento.
        """
        models = (detector_model, embedder_model)
        packing.check(models, arguments.allow)
        return packing.labels(models, arguments.allow, Path(__file__).parent)

    @labels.setter
    def labels(self, _: dict[str, str]) -> None:
        """Service.__init__ sets what the decorator was given, which is nothing."""


@bentoml.service(
    name="facebento",
    service_class=PackedService,
    workers=workers,
    # A backstop behind the gate's deadline, which answers as the contract says.
    traffic={"timeout": configured.deadline_s + 5},
    logging={"access": {"enabled": False}},
    # __is_ready__ asks the runners; BentoML's own probe answers 500 where one is gone.
    runner_probe={"enabled": False},
)
@bentoml.asgi_app(AccessLog(gate, requests), path="/")
class FaceService:
    detector = bentoml.depends(Detector)
    embedder = bentoml.depends(Embedder)

    @bentoml.on_deployment
    @staticmethod
    def check() -> None:
        """Before any process of it starts. Building a bento takes no key, serving one does."""
        settings.require_key(configured)
        exposition.make_folder()
        if configured.runners_inside(on_cpu=cpu_only(configured.device)):
            for runner in (Detector, Embedder):
                runner.inner.check()  # of one that gets a process of its own, BentoML asks that itself

    def __init__(self) -> None:
        for line in settings.unknown_variables():
            log.warning(line)
        return_freed_memory()
        self._sockets = keep_sockets()
        starting_s = BUILDING_S if configured.gpu_engine == "tensorrt" else STARTING_S
        self.runners = {
            "detector": RunnerClient("detector", detector_model.tag, lambda: self.detector, starting_s),
            "embedder": RunnerClient("embedder", embedder_model.tag, lambda: self.embedder, starting_s),
        }
        self.models = (detector_model, embedder_model)
        self.pipeline = Pipeline(
            detect=partial(self.runners["detector"].call, "detect"),
            embed=partial(self.runners["embedder"].call, "embed"),
            detector=detector_model.description,
            embedder=embedder_model.description,
            threads=compute or Threads(_share(configured.decode_threads), "decode"),
            max_pixels=configured.max_pixels,
            max_image_memory_bytes=configured.max_image_memory_bytes,
            detect_here=self.detector.here if inside else None,
            embed_here=self.embedder.here if inside else None,
            search=SearchOptions(
                configured.small_faces,
                configured.smallest_face,
                configured.max_tiles,
                configured.rotations,
            ),
        )

    @bentoml.on_startup
    async def watch(self) -> None:
        urls = {"detector": Detector.url, "embedder": Embedder.url}
        watches = [runner.watch(urls[name]) for name, runner in self.runners.items()]
        if inside:
            for watch in watches:
                await watch
            watches = []
        self._watches = [asyncio.create_task(watch) for watch in watches]
        if configured.api_keys_file is not None:
            self._watches.append(asyncio.create_task(keys.watch(configured.api_keys_file)))
        exposition.begin("api")
        requests.begin()
        state = State(self, admission, deadline_s=configured.deadline_s)
        self._watches.append(asyncio.create_task(state.watch()))
        if spans:
            spans.start("api")
        log.info("the keys in use: %s", keys().describe())
        keep_what_is_there()
        # From here on only: of a start that fails, the lines would be lost with the process.
        logs.write_behind()

    @bentoml.on_shutdown
    async def leave(self) -> None:
        for task in self._watches:
            task.cancel()
        if self._sockets:
            shutil.rmtree(self._sockets, ignore_errors=True)
        if spans:
            await asyncio.to_thread(spans.stop)
        logs.stop_writing_behind()

    def placements(self) -> dict[str, dict[str, str]]:
        """Where each runner runs. Raises RunnerUnavailableError where one is gone."""
        return {name: runner.placement for name, runner in self.runners.items()}

    @property
    def on_gpu(self) -> bool:
        """Whether a runner that is there runs on one."""
        return any(runner.present and runner.placement["device"] != "cpu" for runner in self.runners.values())

    @property
    def concurrency(self) -> int:
        """How many requests this process works on at a time: as many as keep the models busy, and hardly more."""
        usual = CONCURRENCY_ON_GPU if self.on_gpu else CONCURRENCY_PER_THREAD * configured.threads
        wanted: int = configured.max_concurrency or usual
        return _uneven_share(wanted)

    @property
    def image_memory(self) -> ImageMemory:
        return self.pipeline.memory

    @property
    def ready(self) -> bool:
        if inside and (self.detector.lost or self.embedder.lost):
            return False
        return all(runner.present for runner in self.runners.values())

    def __is_alive__(self) -> bool:
        """For BentoML's /livez. Kubernetes restarts what answers no."""
        return not any(runner.given_up for runner in self.runners.values())

    def __is_ready__(self) -> bool:
        """For BentoML's /readyz."""
        return self.ready
