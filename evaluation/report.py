"""What was measured: the files that an evaluation leaves, and the tables that it prints."""

import datetime as dt
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from evaluation.errors import MeasurementError

Interval = tuple[float, float]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Made(_Part):
    """By what, from what, when. failed: pictures that have no answer, and why; nothing else names a picture."""

    facebento: str
    made_at: dt.datetime
    data: str
    detector: str  # tags, id:version
    embedder: str | None
    pictures: int
    failed: dict[str, str]

    def save(self, file: Path) -> None:
        """In one step: what is there before stays until all is written. Raises OSError."""
        file.parent.mkdir(parents=True, exist_ok=True)
        staged = file.with_suffix(".new")
        staged.write_text(self.model_dump_json(indent=1), encoding="utf-8")
        staged.replace(file)

    @classmethod
    def load(cls, file: Path) -> Self:
        """Raises MeasurementError."""
        try:
            return cls.model_validate_json(file.read_bytes())
        except OSError as error:
            raise MeasurementError(f"{file} can't be read: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            raise MeasurementError(
                f"{file} is no evaluation of pairs by this release: {where}: {first['msg']}"
            ) from error


class Threshold(_Part):
    """What one threshold does, on the cosine and, which comes to the same, on the score. Intervals at 95 %."""

    cosine: float
    score: float
    accuracy: float
    far: float
    far_interval: Interval
    tar: float
    tar_interval: Interval


class AtFar(_Part):
    """The lowest threshold with no more false accepts than that share; without one, `reason` says why."""

    far: float
    threshold: Threshold | None
    reason: str | None = None


class Fold(_Part):
    accuracy: float
    cosine: float
    score: float


class Accuracy(_Part):
    """By cross-validation. standard_deviation: of the folds' accuracies, of the sample."""

    mean: float
    standard_deviation: float
    folds: tuple[Fold, ...]


class EqualError(_Part):
    rate: float
    threshold: Threshold


class Verification(_Part):
    """accuracy: None where there are too few pairs for two folds."""

    same: int
    different: int
    accuracy: Accuracy | None
    at_far: tuple[AtFar, ...]
    equal_error: EqualError
    area_under_roc: float
    best: Threshold
    served: Threshold


class Cosines(_Part):
    """Of the pairs that have one, each kind sorted, so that nothing tells which pair is whose."""

    same: tuple[float, ...]
    different: tuple[float, ...]

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """All cosines, and whether each is of one person: [n] and [n]."""
        cosines = np.array([*self.same, *self.different], np.float64)
        return cosines, np.arange(len(cosines)) < len(self.same)


class PairsEvaluation(Made):
    """evaluation.json. every_pair: those without a face in one of their pictures, too, as the most different of all.
    answered: without them; None where no pair has a face in both pictures for each kind.
    """

    kind: Literal["pairs"] = "pairs"
    fingerprint: str
    every_pair: Verification
    answered: Verification | None
    cosines: Cosines


class SizeOfFace(_Part):
    """least, below: the square root of the face's area, in pixels. precision: None where nothing was found."""

    least: float
    below: float | None
    faces: int
    average_precision: float | None
    precision: float | None
    recall: float | None


class BoxesEvaluation(Made):
    """detection.json. Precision and recall are those at the threshold that is served."""

    kind: Literal["boxes"] = "boxes"
    iou: float
    score_threshold: float
    lowest_confidence: float
    faces: int
    ignored: int
    sizes: dict[str, SizeOfFace]


def pairs_table(found: PairsEvaluation) -> str:
    every, answered = found.every_pair, found.answered
    columns = [every] if answered is None or every.same + every.different == _answered(found) else [every, answered]
    rows = [("", "every pair", "pairs with two faces")[: 1 + len(columns)]]
    rows.append(("pairs of one person, of two", *(f"{each.same:,}, {each.different:,}" for each in columns)))
    rows.append(("accuracy, cross-validated", *(_accuracy(each.accuracy) for each in columns)))
    rows.append(("equal error rate", *(f"{each.equal_error.rate:.2%}" for each in columns)))
    rows.append(("area under the ROC", *(f"{each.area_under_roc:.5f}" for each in columns)))
    names = {"best threshold": "best", "served threshold": "served"}
    for name, field in names.items():
        rows.append((name, *(_threshold(getattr(each, field)) for each in columns)))
    for index, point in enumerate(every.at_far):
        rows.append((f"TAR at FAR {point.far:g}", *(_at_far(each.at_far[index]) for each in columns)))
    return _aligned(rows)


def boxes_table(found: BoxesEvaluation) -> str:
    rows: list[tuple[str, ...]] = [("faces", "number", f"AP at IoU {found.iou:g}", "precision", "recall")]
    for name, size in found.sizes.items():
        below = "" if size.below is None else f" < {size.below:g} px"
        above = f"{size.least:g} px <= " if size.least else ""
        rows.append(
            (
                f"{above}{name}{below}" if name != "all" else name,
                f"{size.faces:,}",
                *(
                    "-" if each is None else f"{each:.2%}"
                    for each in (size.average_precision, size.precision, size.recall)
                ),
            )
        )
    return f"{_aligned(rows)}\nprecision and recall at the served threshold, {found.score_threshold:g}"


def _answered(found: PairsEvaluation) -> int:
    return len(found.cosines.same) + len(found.cosines.different)


def _accuracy(accuracy: Accuracy | None) -> str:
    if accuracy is None:
        return "too few pairs"
    return f"{accuracy.mean:.2%} ± {accuracy.standard_deviation:.2%} ({len(accuracy.folds)} folds)"


def _threshold(at: Threshold) -> str:
    return (
        f"cosine {at.cosine:.4f}, score {at.score:.3f}: accuracy {at.accuracy:.2%}, FAR {at.far:.3%}, TAR {at.tar:.2%}"
    )


def _at_far(point: AtFar) -> str:
    if point.threshold is None:
        return f"- {point.reason}"
    at = point.threshold
    low, high = at.tar_interval
    return f"{at.tar:.2%} ({low:.2%} to {high:.2%}) at cosine {at.cosine:.4f}, score {at.score:.3f}"


def _aligned(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)
