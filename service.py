"""FaceService: the BentoML service, its two runners, and a function for each endpoint of the contract."""

import asyncio
import base64
import logging
import os
import shutil
from functools import partial
from importlib import metadata
from typing import Annotated, Any

import bentoml
from bentoml._internal.utils.analytics.usage_stats import do_not_track
from fastapi import APIRouter, Depends, Form
from starlette.routing import Match
from starlette.types import Scope

import api
from api import schemas, settings
from api.app import GUARDED, INVALID, create_app, require_admitted
from api.errors import ModelNotFoundError
from api.gate import Gate
from api.info import model_info
from api.requests import JsonRoute
from faces.detection import Face, Order
from faces.feature import Embedding
from models import store
from models.errors import ModelError
from pipeline import Pipeline
from runners import onnx
from runners.base import RunnerOptions
from runners.client import RunnerClient
from runners.detector import detector_runner
from runners.embedder import embedder_runner
from runners.errors import RunnerTimeoutError
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
    except ModelError as error:
        raise settings.SettingsError(f"{variable}: {error}") from None
    if stored.description.role != role:
        raise settings.SettingsError(f"{variable}: {model_id} is no {role}. See: facebento models list")
    return stored


configured = settings.load()
detector_model = _find("detector", configured.detector)
embedder_model = _find("embedder", configured.embedder)


def _options(max_batch: int) -> RunnerOptions:
    return RunnerOptions(configured.device, configured.threads, max_batch, configured.deadline_s)


Detector = detector_runner(detector_model, _options(configured.detector_batch_size))
Embedder = embedder_runner(embedder_model, _options(configured.embedder_batch_size))


def current() -> "FaceService":
    service: FaceService = bentoml.get_current_service()
    return service


def pipeline(service: Annotated["FaceService", Depends(current)]) -> Pipeline:
    return service.pipeline


Service = Annotated["FaceService", Depends(current)]
Faces = Annotated[Pipeline, Depends(pipeline)]
MULTIPART = Form(media_type="multipart/form-data")
PLACEMENT_TIMEOUT_S = 10

info = APIRouter(prefix="/v1", tags=["Default"])
faces_api = APIRouter(
    prefix="/v1",
    tags=["Face Identification"],
    route_class=JsonRoute,
    dependencies=[Depends(require_admitted)],
    responses=GUARDED,
    # Text where a file belongs is told to be that, however long it is; the cap on bodies bounds it.
    form_limits={"max_part_size": configured.max_body_bytes},
)


@info.get("/health", summary="Liveness of the server.")
async def health(service: Service) -> schemas.Health:
    return schemas.Health(status="ok", ready=service.ready)


@info.get("/info/server", summary="Basic version information of the server.")
async def server_info(service: Service) -> dict[str, Any]:
    placements = await service.placements()
    return {
        "name": "facebento",
        "version": api.__version__,
        "bentoml": metadata.version("bentoml"),
        "onnxruntime": onnx.version(),
        "device": placements["detector"]["device"],
        "execution_provider": placements["detector"]["provider"],
        "runners": placements,
    }


@info.get("/info/model", summary="Names of the inference models being served.")
async def model_names() -> dict[str, list[str]]:
    return {"models": [detector_model.description.id, embedder_model.description.id]}


@info.get("/info/model/{model_name}", summary="Configuration of one named inference model.", responses=INVALID)
async def model_details(model_name: str) -> dict[str, Any]:
    for stored in (detector_model, embedder_model):
        if stored.description.id == model_name:
            return model_info(stored.description)
    raise ModelNotFoundError("No model of this name is being served. /v1/info/model lists those that are.")


@faces_api.post("/detect", summary="Detect the faces of several people in one image: face regions and landmarks.")
async def detect(body: schemas.DetectReqBody, faces: Faces) -> schemas.DetectResponse:
    return await _detect(faces, body)


@faces_api.post("/feature", summary="Extract the face feature of a single person from one image.")
async def feature(body: schemas.FeatureReqBody, faces: Faces) -> schemas.FeatureResponse:
    return _feature(faces, await faces.embed_largest(await body.payload("image")))


@faces_api.post(
    "/feature-only",
    summary="Extract the face feature of a single person from one preprocessed image (aligned 112x112).",
)
async def feature_only(body: schemas.FeatureReqBody, faces: Faces) -> schemas.FeatureResponse:
    return _feature(faces, (None, await faces.embed_aligned(await body.payload("image"))))


@faces_api.post("/multi-feature", summary="Extract the face features of several people from one image.")
async def multi_feature(body: schemas.MultiFeatureReqBody, faces: Faces) -> schemas.MultiFeatureResponse:
    found = await faces.embed_all(await body.payload("image"), body.maxResults)
    return schemas.MultiFeatureResponse(
        version=api.__version__,
        feature_info_list=[
            schemas.FeatureInfoResult(
                feature=_base64(faces.feature(embedding)), face_detect=schemas.DetectResult.of(face)
            )
            for face, embedding in found
        ],
    )


@faces_api.post("/embeddings", summary="Extract the face feature array of a single person from one image.")
async def embeddings(body: schemas.EmbeddingsReqBody, faces: Faces) -> schemas.EmbeddingsResponse:
    return _embeddings(await faces.embed_largest(await body.payload("image")))


@faces_api.post(
    "/embeddings-only",
    summary="Extract the face feature array of a single person from one preprocessed image (aligned 112x112).",
)
async def embeddings_only(body: schemas.EmbeddingsReqBody, faces: Faces) -> schemas.EmbeddingsResponse:
    return _embeddings((None, await faces.embed_aligned(await body.payload("image"))))


@faces_api.post("/multi-embeddings", summary="Extract the face feature arrays of several people from one image.")
async def multi_embeddings(body: schemas.MultiEmbeddingsReqBody, faces: Faces) -> schemas.MultiEmbeddingsResponse:
    found = await faces.embed_all(await body.payload("image"), body.maxResults)
    return schemas.MultiEmbeddingsResponse(
        version=api.__version__,
        embeddings_info_list=[
            schemas.EmbeddingsInfoResult(embeddings=embedding.tolist(), face_detect=schemas.DetectResult.of(face))
            for face, embedding in found
        ],
    )


@faces_api.post("/score", summary="Measure the similarity between the faces contained in two images.")
async def score(body: schemas.ScoreReqBody, faces: Faces) -> schemas.ScoreResponse:
    return await _score(faces, body)


@faces_api.post("/feature-score", summary="Measure the similarity between two features.")
async def feature_score(body: schemas.FeatureScoreReqBody, faces: Faces) -> schemas.FeatureScoreResponse:
    first, second = await body.payload("feature1"), await body.payload("feature2")
    return schemas.FeatureScoreResponse(score=await faces.compare_features(first, second))


@faces_api.post(
    "/file/detect", summary="Detect the faces of several people in one image file: face regions and landmarks."
)
async def file_detect(form: Annotated[schemas.DetectForm, MULTIPART], faces: Faces) -> schemas.DetectResponse:
    return await _detect(faces, form)


@faces_api.post("/file/feature", summary="Extract the face feature of a single person from one image file.")
async def file_feature(form: Annotated[schemas.ImageForm, MULTIPART], faces: Faces) -> schemas.FeatureResponse:
    return _feature(faces, await faces.embed_largest(await form.payload("image")))


@faces_api.post(
    "/file/feature-only",
    summary="Extract the face feature of a single person from one preprocessed image file (aligned 112x112).",
)
async def file_feature_only(form: Annotated[schemas.ImageForm, MULTIPART], faces: Faces) -> schemas.FeatureResponse:
    return _feature(faces, (None, await faces.embed_aligned(await form.payload("image"))))


@faces_api.post("/file/embeddings", summary="Extract the face feature array of a single person from one image file.")
async def file_embeddings(form: Annotated[schemas.ImageForm, MULTIPART], faces: Faces) -> schemas.EmbeddingsResponse:
    return _embeddings(await faces.embed_largest(await form.payload("image")))


@faces_api.post(
    "/file/embeddings-only",
    summary="Extract the face feature array of a single person from one preprocessed image file (aligned 112x112).",
)
async def file_embeddings_only(
    form: Annotated[schemas.ImageForm, MULTIPART], faces: Faces
) -> schemas.EmbeddingsResponse:
    return _embeddings((None, await faces.embed_aligned(await form.payload("image"))))


@faces_api.post("/file/score", summary="Measure the similarity between the faces contained in two image files.")
async def file_score(form: Annotated[schemas.ScoreForm, MULTIPART], faces: Faces) -> schemas.ScoreResponse:
    return await _score(faces, form)


async def _detect(faces: Pipeline, asked: schemas.DetectReqBody | schemas.DetectForm) -> schemas.DetectResponse:
    found = await faces.detect(await asked.payload("image"), Order(asked.detectSortType), asked.maxResults)
    return schemas.DetectResponse(seq=asked.seq, faces=[schemas.DetectResult.of(face) for face in found])


async def _score(faces: Pipeline, asked: schemas.ScoreReqBody | schemas.ScoreForm) -> schemas.ScoreResponse:
    compared = await faces.compare(await asked.payload("image1"), await asked.payload("image2"))
    return schemas.ScoreResponse(
        score=compared.score, face_detects=[schemas.DetectResult.of(face) for face in compared.faces]
    )


def _feature(faces: Pipeline, found: tuple[Face | None, Embedding] | None) -> schemas.FeatureResponse:
    face, embedding = found or (None, None)
    return schemas.FeatureResponse(
        version=api.__version__,
        feature="" if embedding is None else _base64(faces.feature(embedding)),
        face_detect=schemas.DetectResult.of(face),
    )


def _embeddings(found: tuple[Face | None, Embedding] | None) -> schemas.EmbeddingsResponse:
    face, embedding = found or (None, None)
    return schemas.EmbeddingsResponse(
        version=api.__version__,
        embeddings=[] if embedding is None else embedding.tolist(),
        face_detect=schemas.DetectResult.of(face),
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def guarded(scope: Scope) -> bool:
    """Whether the router would take it to a guarded endpoint: the router itself is asked, not a list of paths."""
    return any(route.matches(scope)[0] is Match.FULL for route in faces_api.routes)


gate = Gate(
    create_app(info, faces_api),
    guarded=guarded,
    keys=configured.keys(),
    max_body_bytes=configured.max_body_bytes,
    max_in_flight=-(-configured.max_in_flight // configured.workers),
    deadline_s=configured.deadline_s,
)


@bentoml.service(
    name="facebento",
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
        self._sockets = keep_sockets()
        self.runners = {
            "detector": RunnerClient(lambda: self.detector),
            "embedder": RunnerClient(lambda: self.embedder),
        }
        self.pipeline = Pipeline(
            detect=partial(self.runners["detector"].call, "detect"),
            embed=partial(self.runners["embedder"].call, "embed"),
            detector=detector_model.description,
            embedder=embedder_model.description,
            decode_threads=configured.decode_threads,
            max_pixels=configured.max_pixels,
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

    async def placements(self) -> dict[str, dict[str, str]]:
        """Where each runner runs. Raises RunnerError where one does not answer."""
        try:
            async with asyncio.timeout(PLACEMENT_TIMEOUT_S):
                answers = await asyncio.gather(*(runner.call("placement") for runner in self.runners.values()))
        except TimeoutError:
            raise RunnerTimeoutError("A model did not answer in time. Try again later.") from None
        return dict(zip(self.runners, answers, strict=True))

    @property
    def ready(self) -> bool:
        return all(runner.present for runner in self.runners.values())

    def __is_ready__(self) -> bool:
        """For BentoML's /readyz."""
        return self.ready
