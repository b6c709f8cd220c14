"""From the answers for each picture to what is reported of them."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evaluation import verification
from evaluation.boxes import Labelled
from evaluation.detection import LEAST_IOU, SIZES, Found, PrecisionRecall, precision_recall
from evaluation.errors import MeasurementError
from evaluation.journal import Answer
from evaluation.pairs import Pair
from evaluation.report import (
    Accuracy,
    AtFar,
    BoxesEvaluation,
    Cosines,
    EqualError,
    Fold,
    PairsEvaluation,
    SizeOfFace,
    Threshold,
    Verification,
)
from faces.feature import ScoreMapping, cosine_similarity

Floats = NDArray[np.float64]

NO_FACE: Final = "no face was found"
# The cosine of a pair of which one picture has no face: the service answers such a pair with the score 0.
UNLIKE: Final = -1.0
# Cosines come from float32: what lies behind this is rounding.
DECIMALS: Final = 7


def measure_pairs(
    pairs: Sequence[Pair],
    answers: Mapping[str, Answer],
    mapping: ScoreMapping,
    *,
    facebento: str,
    data: str,
    detector: str,
    embedder: str,
    fingerprint: str,
) -> PairsEvaluation:
    """answers: for each picture of the pairs. mapping: as served. data: what the pictures are called."""
    vectors = {picture: answer.vector() for picture, answer in answers.items()}
    cosines = np.array([_cosine(vectors[pair.first], vectors[pair.second]) for pair in pairs])
    same = np.array([pair.same for pair in pairs])
    named = [pair.fold for pair in pairs if pair.fold is not None]
    folds = np.array(named) if named else None
    seen = np.array([vectors[pair.first] is not None and vectors[pair.second] is not None for pair in pairs])
    answered = None
    if set(same[seen].tolist()) == {True, False}:
        answered = verify(cosines[seen], same[seen], None if folds is None else folds[seen], mapping)
    return PairsEvaluation(
        facebento=facebento,
        made_at=dt.datetime.now(dt.UTC),
        data=data,
        detector=detector,
        embedder=embedder,
        fingerprint=fingerprint,
        pictures=len(answers),
        failed=_failed(answers) | {name: NO_FACE for name, each in answers.items() if each == Answer()},
        every_pair=verify(cosines, same, folds, mapping),
        answered=answered,
        cosines=Cosines(
            same=tuple(np.sort(cosines[seen & same]).tolist()), different=tuple(np.sort(cosines[seen & ~same]).tolist())
        ),
    )


def verify(
    cosines: Floats, same: NDArray[np.bool_], folds: NDArray[np.int64] | None, mapping: ScoreMapping
) -> Verification:
    """cosines, same: [n], of each pair, both kinds among them. folds: [n] where the list names them."""

    def threshold(cosine: float) -> Threshold:
        return threshold_of(cosines, same, cosine, mapping)

    curve = verification.roc(cosines, same)
    if folds is None:
        folds = verification.folds_of(same)
    accuracy = None
    if folds is not None and len(np.unique(folds)) > 1:
        crossed = verification.cross_validated(cosines, same, folds)
        accuracy = Accuracy(
            mean=crossed.mean,
            standard_deviation=crossed.standard_deviation,
            folds=tuple(
                Fold(accuracy=each, cosine=cosine, score=mapping.score(cosine))
                for each, cosine in zip(crossed.accuracies, crossed.cosines, strict=True)
            ),
        )
    rate, at_rate = verification.equal_error(curve)
    at_far = []
    for far in verification.FARS:
        cosine = verification.at_far(curve, far)
        if cosine is None:
            reason = f"takes at least {round(1 / far):,} pairs of two people, and there are {curve.different:,}"
            at_far.append(AtFar(far=far, threshold=None, reason=reason))
        else:
            at_far.append(AtFar(far=far, threshold=threshold(cosine)))
    return Verification(
        same=curve.same,
        different=curve.different,
        accuracy=accuracy,
        at_far=tuple(at_far),
        equal_error=EqualError(rate=rate, threshold=threshold(at_rate)),
        area_under_roc=verification.area(cosines, same),
        best=threshold(verification.best(curve)),
        served=threshold(mapping.cosine),
    )


def threshold_of(cosines: Floats, same: NDArray[np.bool_], cosine: float, mapping: ScoreMapping) -> Threshold:
    rates: dict[str, Any] = asdict(verification.rates(cosines, same, cosine))
    return Threshold(score=mapping.score(cosine), **rates)


def measure_boxes(
    labelled: Sequence[Labelled],
    answers: Mapping[str, Answer],
    *,
    facebento: str,
    data: str,
    detector: str,
    score_threshold: float,
    lowest_confidence: float,
) -> tuple[BoxesEvaluation, PrecisionRecall]:
    """The report, and the curve of faces of every size. score_threshold: as served; lowest_confidence: asked for."""
    found = [_found(each, answers[each.picture]) for each in labelled]
    curves = {name: precision_recall(found, sizes) for name, sizes in SIZES.items()}
    if curves["all"] is None:
        raise MeasurementError("there is no face to be found")
    evaluation = BoxesEvaluation(
        facebento=facebento,
        made_at=dt.datetime.now(dt.UTC),
        data=data,
        detector=detector,
        embedder=None,
        pictures=len(answers),
        failed=_failed(answers),
        iou=LEAST_IOU,
        score_threshold=score_threshold,
        lowest_confidence=lowest_confidence,
        faces=curves["all"].faces,
        ignored=sum(int(each.ignored.sum()) for each in labelled),
        sizes={name: _size(curve, SIZES[name], score_threshold) for name, curve in curves.items()},
    )
    return evaluation, curves["all"]


def _cosine(first: NDArray[np.float32] | None, second: NDArray[np.float32] | None) -> float:
    return UNLIKE if first is None or second is None else round(cosine_similarity(first, second), DECIMALS)


def _failed(answers: Mapping[str, Answer]) -> dict[str, str]:
    return {picture: answer.failed for picture, answer in answers.items() if answer.failed is not None}


def _found(labelled: Labelled, answer: Answer) -> Found:
    table = np.array(answer.faces, np.float64).reshape(-1, 5)
    return Found(table[:, :4], table[:, 4], labelled.boxes, labelled.ignored)


def _size(curve: PrecisionRecall | None, sizes: tuple[float, float], score_threshold: float) -> SizeOfFace:
    least, below = sizes
    precision, recall = (None, None) if curve is None else curve.above(score_threshold)
    return SizeOfFace(
        least=least,
        below=None if np.isinf(below) else below,
        faces=0 if curve is None else curve.faces,
        average_precision=None if curve is None else curve.average,
        precision=precision,
        recall=recall,
    )
