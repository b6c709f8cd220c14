"""The endpoints that take images and features: a function for each."""

import base64
import sys
from typing import Annotated

import bentoml
from fastapi import APIRouter, Depends, Form

import api
from api import schemas
from api.app import GUARDED, require_admitted
from api.requests import JsonRoute
from faces.detection import Face, Order
from faces.feature import Embedding
from pipeline import Pipeline


async def current_pipeline() -> Pipeline:
    pipeline: Pipeline = bentoml.get_current_service().pipeline
    return pipeline


Faces = Annotated[Pipeline, Depends(current_pipeline)]
MULTIPART = Form(media_type="multipart/form-data")

faces_api = APIRouter(
    prefix="/v1",
    tags=["Face Identification"],
    route_class=JsonRoute,
    dependencies=[Depends(require_admitted)],
    responses=GUARDED,
    # Text where a file belongs is told to be that, however long it is; the gate's cap on bodies bounds it.
    form_limits={"max_part_size": sys.maxsize},
)


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
