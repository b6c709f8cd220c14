"""What /v1/info tells of a model."""

import dataclasses
from typing import Any

from models.catalog import ModelDescription


def model_info(description: ModelDescription) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": description.id,
        "role": description.role,
        "summary": description.summary,
        "source": description.source.model_dump() if description.source else None,
        "licence": description.licence,
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
        told["score_mapping"] = {
            "formula": "score = 1 / (1 + (sqrt(2 - 2 * similarity) / sqrt(2 - 2 * cosine)) ** steepness), "
            "with similarity the cosine of the two embeddings",
            **dataclasses.asdict(description.embedder.score),
        }
        told["thresholds"] = {"cosine": description.embedder.score.cosine}
        told["operating_points"] = [
            {"score": description.embedder.score.score(point.cosine), **point.model_dump()}
            for point in description.embedder.operating_points
        ]
    return told
