"""From an evaluation of pairs to a score mapping: where the score is 0.5, and how fast it leaves it."""

import datetime as dt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evaluation import verification
from evaluation.errors import MeasurementError
from evaluation.measure import threshold_of
from evaluation.report import PairsEvaluation
from faces.feature import ScoreMapping
from models.calibration import Calibration, MeasuredPoint

Floats = NDArray[np.float64]

LEAST_STEEPNESS: Final = 1.0
MOST_STEEPNESS: Final = 32.0
# The distance below which two embeddings are told apart by float32's rounding alone.
LEAST_DISTANCE: Final = 1e-3


def measure(
    evaluation: PairsEvaluation, *, fingerprint: str, far: float | None = None, cosine: float | None = None
) -> Calibration:
    """fingerprint: of the embedder to be calibrated. The operating point is that FAR's threshold, or that cosine, or
    else the threshold of the equal error rate: it does not depend on how many pairs of either kind somebody has
    collected, as the threshold of the best accuracy does. All from the pairs with a face in both pictures: others have
    no cosine.

    Raises MeasurementError.
    """
    if evaluation.fingerprint != fingerprint:
        raise MeasurementError(
            f"it was measured with {evaluation.embedder}, of the fingerprint {evaluation.fingerprint}, and this "
            f"embedder has {fingerprint}: evaluate this one"
        )
    answered = evaluation.answered
    if answered is None:
        raise MeasurementError("it has no pairs of both kinds with a face in both pictures")
    if answered.area_under_roc <= 0.5:
        raise MeasurementError("its pairs of one person are no more alike than those of two: is the list right?")
    cosines, same = evaluation.cosines.arrays()
    at, chosen = _operating_point(evaluation, verification.roc(cosines, same), far, cosine)
    if not -1 < at < 1:
        raise MeasurementError(f"{chosen} has no threshold below a cosine of 1: no pair is accepted there")
    mapping = ScoreMapping(at, steepness(cosines[same], cosines[~same], at))
    wanted = {at, *(point.threshold.cosine for point in answered.at_far if point.threshold is not None)}
    table = [threshold_of(cosines, same, each, mapping) for each in sorted(wanted)]
    return Calibration(
        fingerprint=fingerprint,
        score=mapping,
        chosen=chosen,
        data=evaluation.data,
        same_pairs=int(same.sum()),
        different_pairs=int((~same).sum()),
        date=dt.datetime.now(dt.UTC).date(),
        points=tuple(
            MeasuredPoint(cosine=min(each.cosine, 1), far=each.far, tar=each.tar, accuracy=each.accuracy)
            for each in table
        ),
    )


def steepness(same: Floats, different: Floats, cosine: float) -> float:
    """Of the mapping with its 0.5 at that cosine: the one under which the pairs are likeliest, cosines [n] and [m].

    With d the distance and d0 that of the cosine, the score is 1 / (1 + (d / d0) ** s): the logistic function of
    s log(d0 / d). So s is the one coefficient of a logistic regression without an intercept, fitted by maximum
    likelihood; its score then reads as a probability where both kinds are equally frequent, since both weigh the same
    here. Where they are perfectly apart any larger s would be likelier still: instead of 1 and 0 the targets are
    (n + 1) / (n + 2) and 1 / (m + 2) (Platt, 1999), and s is kept between 1 and 32: beyond, nearly all
    scores are 0 or 1 to all of their digits.
    """
    distance = np.sqrt(2 - 2 * np.concatenate([same, different]).clip(-1, 1)).clip(LEAST_DISTANCE)
    likeness = np.log(np.sqrt(2 - 2 * cosine) / distance)
    n, m = len(same), len(different)
    target = np.concatenate([np.full(n, (n + 1) / (n + 2)), np.full(m, 1 / (m + 2))])
    weight = np.concatenate([np.full(n, 0.5 / n), np.full(m, 0.5 / m)])

    def slope(s: float) -> float:
        """Of the negative log-likelihood, which is convex: it rises with s."""
        return float((weight * likeness * (1 / (1 + np.exp(-s * likeness)) - target)).sum())

    low, high = LEAST_STEEPNESS, MOST_STEEPNESS
    if slope(low) >= 0:
        return low
    if slope(high) <= 0:
        return high
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return (low + high) / 2


def _operating_point(
    evaluation: PairsEvaluation, curve: verification.Roc, far: float | None, cosine: float | None
) -> tuple[float, str]:
    if cosine is not None:
        return cosine, f"a cosine of {cosine:g}"
    if far is None:
        rate, at = verification.equal_error(curve)
        return at, f"the equal error rate, {rate:.2%}"
    found = verification.at_far(curve, far)
    if found is None:
        raise MeasurementError(
            f"a FAR of {far:g} takes at least {round(1 / far):,} pairs of two people, and {evaluation.data} has "
            f"{curve.different:,} with a face in both pictures"
        )
    return found, f"a FAR of {far:g}"
