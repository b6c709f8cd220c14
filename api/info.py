"""What the service tells of itself and its models, without a key."""

import dataclasses
from collections.abc import Sequence
from importlib import metadata
from typing import Annotated, Any, Protocol

import bentoml
from fastapi import APIRouter, Depends

import api
from api.app import INVALID, NOT_FOUND, UNAVAILABLE
from api.errors import ModelNotFoundError
from api.schemas import Health
from models.catalog import ModelDescription
from models.licence import Acceptance
from models.store import StoredModel
from runners import onnx


class Served(Protocol):
    """What there is to tell of."""

    models: Sequence[StoredModel]  # the detector and the embedder

    @property
    def ready(self) -> bool: ...

    def placements(self) -> dict[str, dict[str, str]]: ...


async def current() -> Served:
    served: Served = bentoml.get_current_service()
    return served


Current = Annotated[Served, Depends(current)]

info_api = APIRouter(prefix="/v1", tags=["Default"])


@info_api.get("/health", summary="Liveness of the server.")
async def health(served: Current) -> Health:
    return Health(status="ok", ready=served.ready)


@info_api.get("/info/server", summary="Basic version information of the server.", responses=UNAVAILABLE)
async def server_info(served: Current) -> dict[str, Any]:
    placements = served.placements()
    return {
        "name": "facebento",
        "version": api.__version__,
        "bentoml": metadata.version("bentoml"),
        "onnxruntime": onnx.version(),
        "device": placements["detector"]["device"],
        "execution_provider": placements["detector"]["provider"],
        "runners": placements,
    }


@info_api.get("/info/model", summary="Names of the inference models being served.")
async def model_names(served: Current) -> dict[str, list[str]]:
    return {"models": [model.description.id for model in served.models]}


@info_api.get(
    "/info/model/{model_name}",
    summary="Configuration of one named inference model.",
    responses={**NOT_FOUND, **INVALID},
)
async def model_details(model_name: str, served: Current) -> dict[str, Any]:
    for model in served.models:
        if model.description.id == model_name:
            return model_info(model.description, model.accepted)
    raise ModelNotFoundError("No model of this name is being served. /v1/info/model lists those that are.")


def model_info(description: ModelDescription, accepted: Acceptance | None = None) -> dict[str, Any]:
    """accepted: its licence, where somebody had to."""
    told: dict[str, Any] = {
        "name": description.id,
        "role": description.role,
        "summary": description.summary,
        "source": description.source.model_dump() if description.source else None,
        "licence": description.licence,
        "licence_terms": description.terms,
        "licence_restricts_use": description.acceptance,
        "licence_accepted_at": accepted.accepted_at.isoformat(timespec="seconds") if accepted else None,
        "sha256": description.sha256,
        "input_size": description.input.size,
    }
    if description.detector:
        told["thresholds"] = {
            "score": description.detector.score_threshold,
            "iou": description.detector.iou_threshold,
        }
    if description.embedder:
        told["dimensions"] = description.embedder.dimensions
        told["fingerprint"] = description.fingerprint
        mapping = description.embedder.mapping
        calibration = description.embedder.calibration
        told["score_mapping"] = {
            "formula": "score = 1 / (1 + (sqrt(2 - 2 * similarity) / sqrt(2 - 2 * cosine)) ** steepness), "
            "with similarity the cosine of the two embeddings",
            **dataclasses.asdict(mapping),
        }
        told["thresholds"] = {"cosine": mapping.cosine}
        told["operating_points"] = [
            {"score": mapping.score(point.cosine), **point.model_dump()}
            for point in description.embedder.operating_points
        ]
        told["calibration"] = None
        if calibration:
            told["calibration"] = calibration.model_dump(mode="json", exclude={"fingerprint", "score", "points"})
            measured = {"data": calibration.data, "source": f"measured where it runs, on {calibration.date}"}
            told["operating_points"] += [
                {"score": mapping.score(point.cosine), **point.model_dump(), **measured} for point in calibration.points
            ]
    return told
