"""FaceService: the BentoML service, its two runners, and the gate to its endpoints (api/endpoints.py, api/info.py)."""

import asyncio
import logging
import os
import shutil
from functools import partial
from pathlib import Path

import bentoml
from _bentoml_sdk import Service
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.utils.analytics.usage_stats import do_not_track
from starlette.routing import Match
from starlette.types import Scope

from api import settings
from api.app import create_app
from api.endpoints import faces_api
from api.gate import Gate
from api.info import info_api
from memory import return_freed_memory
from models import packing, store
from models.catalog import describe
from models.errors import ModelError, ModelNotStoredError
from pipeline import Pipeline
from runners.base import RunnerOptions
from runners.client import RunnerClient
from runners.detector import detector_runner
from runners.embedder import embedder_runner
from runners.sockets import keep_sockets

log = logging.getLogger("facebento.service")
# BentoML sets up the handlers, and lets only its own loggers say what is not a warning.
logging.getLogger("facebento").setLevel(logging.INFO)

# What serves faces in a company's own network reports to nobody outside it. `bentoml serve` has looked at the variable
# by now, and remembers what it saw.
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
do_not_track.cache_clear()


def _find(role: str, model_id: str) -> store.StoredModel:
    variable = f"{settings.PREFIX}{role.upper()}"
    try:
        stored = store.find(model_id)
    except ModelNotStoredError as error:
        if "missing" not in arguments.allow:
            raise settings.SettingsError(f"{variable}: {error}") from None
        stored = store.expected(describe(model_id))
    except ModelError as error:
        raise settings.SettingsError(f"{variable}: {error}") from None
    if stored.description.role != role:
        raise settings.SettingsError(f"{variable}: {model_id} is no {role}. See: facebento models list")
    return stored


arguments = bentoml.use_arguments(packing.BentoArguments)
configured = settings.load(arguments.model_dump(include={"detector", "embedder"}, exclude_none=True))
# What a bento that is built of this will remember: its models, but not what its builder put up with.
BentoMLContainer.bento_arguments.set({"detector": configured.detector, "embedder": configured.embedder})
detector_model = _find("detector", configured.detector)
embedder_model = _find("embedder", configured.embedder)


def _options(max_batch: int) -> RunnerOptions:
    return RunnerOptions(configured.device, configured.threads, max_batch, configured.deadline_s)


Detector = detector_runner(detector_model, _options(configured.detector_batch_size))
Embedder = embedder_runner(embedder_model, _options(configured.embedder_batch_size))


def guarded(scope: Scope) -> bool:
    """Whether the router would take it to a guarded endpoint: the router itself is asked, not a list of paths."""
    return any(route.matches(scope)[0] is Match.FULL for route in faces_api.routes)


gate = Gate(
    create_app(info_api, faces_api),
    guarded=guarded,
    keys=configured.keys(),
    max_body_bytes=configured.max_body_bytes,
    max_in_flight=-(-configured.max_in_flight // configured.workers),
    deadline_s=configured.deadline_s,
)


class PackedService(Service["FaceService"]):
    """The service whose labels are asked for when a bento is built, and only then."""

    @property
    def labels(self) -> dict[str, str]:
        """Raises PackingError where a model must not go into a bento."""
        models = (detector_model, embedder_model)
        packing.check(models, arguments.allow)
        return packing.labels(models, arguments.allow, Path(__file__).parent)

    @labels.setter
    def labels(self, _: dict[str, str]) -> None:
        """Service.__init__ sets what the decorator was given, which is nothing."""


@bentoml.service(
    name="facebento",
    service_class=PackedService,
    workers=configured.workers,
    # A backstop behind the gate's deadline, which answers as the contract says.
    traffic={"timeout": configured.deadline_s + 5},
    logging={"access": {"enabled": False}},
    # __is_ready__ asks the runners; BentoML's own probe answers 500 where one is gone.
    runner_probe={"enabled": False},
)
@bentoml.asgi_app(gate, path="/")
class FaceService:
    # Before any process of it starts. Building a bento takes no key, serving one does.
    check = bentoml.on_deployment(partial(settings.require_key, configured))
    detector = bentoml.depends(Detector)
    embedder = bentoml.depends(Embedder)

    def __init__(self) -> None:
        for line in settings.unknown_variables():
            log.warning(line)
        return_freed_memory()
        self._sockets = keep_sockets()
        self.runners = {
            "detector": RunnerClient("detector", detector_model.tag, lambda: self.detector),
            "embedder": RunnerClient("embedder", embedder_model.tag, lambda: self.embedder),
        }
        self.models = (detector_model.description, embedder_model.description)
        self.pipeline = Pipeline(
            detect=partial(self.runners["detector"].call, "detect"),
            embed=partial(self.runners["embedder"].call, "embed"),
            detector=detector_model.description,
            embedder=embedder_model.description,
            decode_threads=configured.decode_threads,
            max_pixels=configured.max_pixels,
            max_image_memory_bytes=configured.max_image_memory_bytes,
        )

    @bentoml.on_startup
    async def watch(self) -> None:
        urls = {"detector": Detector.url, "embedder": Embedder.url}
        self._watches = [asyncio.create_task(runner.watch(urls[name])) for name, runner in self.runners.items()]

    @bentoml.on_shutdown
    async def leave(self) -> None:
        for task in self._watches:
            task.cancel()
        if self._sockets:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def placements(self) -> dict[str, dict[str, str]]:
        """Where each runner runs. Raises RunnerUnavailableError where one is gone."""
        return {name: runner.placement for name, runner in self.runners.items()}

    @property
    def ready(self) -> bool:
        return all(runner.present for runner in self.runners.values())

    def __is_alive__(self) -> bool:
        """For BentoML's /livez. Kubernetes restarts what answers no."""
        return not any(runner.given_up for runner in self.runners.values())

    def __is_ready__(self) -> bool:
        """For BentoML's /readyz."""
        return self.ready
