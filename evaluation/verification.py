"""From the cosines of labelled pairs to error rates.

A pair is taken for one person where its cosine is at least the threshold. Rates are shares of the pairs: FAR, the false
accepts, of those of two people; TAR, the true accepts, of those of one; FRR is 1 - TAR.

Thresholds that stand between the same two neighbouring cosines judge alike, so one of each will do: the one halfway.
Besides there are the lowest cosine, which accepts all, and one just above the highest, which accepts none.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FOLDS: Final = 10
FARS: Final = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
_Z: Final = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True, eq=False)
class Roc:
    """What each threshold accepts. All [m], by falling threshold: from accepting none to accepting all."""

    cosines: Floats
    accepted_same: NDArray[np.int64]
    accepted_different: NDArray[np.int64]
    same: int  # pairs of one person
    different: int

    @property
    def far(self) -> Floats:
        return self.accepted_different / self.different

    @property
    def tar(self) -> Floats:
        return self.accepted_same / self.same

    @property
    def right(self) -> NDArray[np.int64]:
        """The pairs that each threshold judges rightly."""
        return self.accepted_same + (self.different - self.accepted_different)


@dataclass(frozen=True, slots=True)
class Rates:
    """What one threshold does. Each rate with its interval at 95 %, low and high (see `wilson`)."""

    cosine: float
    accuracy: float
    far: float
    far_interval: tuple[float, float]
    tar: float
    tar_interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class CrossValidated:
    """The accuracy on each fold, with the threshold that is best on the other folds."""

    accuracies: tuple[float, ...]
    cosines: tuple[float, ...]

    @property
    def mean(self) -> float:
        return math.fsum(self.accuracies) / len(self.accuracies)

    @property
    def standard_deviation(self) -> float:
        """Of the sample: over the folds less one."""
        mean = self.mean
        return math.sqrt(math.fsum((each - mean) ** 2 for each in self.accuracies) / (len(self.accuracies) - 1))


def roc(cosines: Floats, same: NDArray[np.bool_]) -> Roc:
    """cosines, same: [n], a value for each pair; at least one of either kind."""
    distinct = np.unique(cosines)
    halfway = (distinct[:-1] + distinct[1:]) / 2
    thresholds = np.concatenate([distinct[:1], halfway, [np.nextafter(distinct[-1], np.inf)]])[::-1]
    of_one, of_two = _kinds(same)
    return Roc(thresholds, _at_least(cosines[same], thresholds), _at_least(cosines[~same], thresholds), of_one, of_two)


def rates(cosines: Floats, same: NDArray[np.bool_], cosine: float) -> Rates:
    """At one threshold, of those pairs."""
    of_one, of_two = _kinds(same)
    true_accepts, false_accepts = (int((cosines[each] >= cosine).sum()) for each in (same, ~same))
    return Rates(
        cosine=float(cosine),
        accuracy=(true_accepts + of_two - false_accepts) / len(cosines),
        far=false_accepts / of_two,
        far_interval=wilson(false_accepts, of_two),
        tar=true_accepts / of_one,
        tar_interval=wilson(true_accepts, of_one),
    )


def at_far(curve: Roc, far: float) -> float | None:
    """The lowest threshold that accepts no more than that share of the pairs of two people.

    Nothing is interpolated. None where the share is less than one of these pairs: they say nothing about it.
    """
    allowed = math.floor(far * curve.different + 1e-9)  # 0.29 * 100 is a little less than 29
    if allowed < 1:
        return None
    return float(curve.cosines[np.flatnonzero(curve.accepted_different <= allowed)[-1]])


def equal_error(curve: Roc) -> tuple[float, float]:
    """The rate at which FAR and FRR are equal, and a threshold for it.

    The rate is where the straight line between two neighbouring points of the ROC meets FAR = FRR; the threshold is
    that of the two at which FAR and FRR are closer, the higher one where they are equally close.
    """
    far, frr = curve.far, 1 - curve.tar
    after = int(np.flatnonzero(far >= frr)[0])  # never the first: that one accepts none
    before = after - 1
    step = (frr[before] - far[before]) / ((far[after] - far[before]) + (frr[before] - frr[after]))
    rate = far[before] + step * (far[after] - far[before])
    nearer = after if abs(far[after] - frr[after]) < abs(far[before] - frr[before]) else before
    return float(rate), float(curve.cosines[nearer])


def area(cosines: Floats, same: NDArray[np.bool_]) -> float:
    """Under the ROC: how often a pair of one person has the higher cosine of two, ties counted half (Mann-Whitney)."""
    different = np.sort(cosines[~same])
    below = np.searchsorted(different, cosines[same], "left")
    below_or_equal = np.searchsorted(different, cosines[same], "right")
    return float((below + below_or_equal).sum() / 2 / (len(different) * same.sum()))


def best(curve: Roc) -> float:
    """The threshold with the highest accuracy; of several the one in the middle, counted down from the highest."""
    highest = np.flatnonzero(curve.right == curve.right.max())
    return float(curve.cosines[highest[len(highest) // 2]])


def folds_of(same: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    """Ten folds for pairs that come without: [n], from 0. Fewer where there are too few pairs; None for less than two.

    Each fold has its share of both kinds. Neighbours in the list, which often show the same people, stay together.
    """
    count = min(FOLDS, *_kinds(same))
    if count < 2:
        return None
    folds = np.zeros(len(same), np.int64)
    for kind in (same, ~same):
        folds[kind] = np.arange(kind.sum()) * count // kind.sum()
    return folds


def cross_validated(cosines: Floats, same: NDArray[np.bool_], folds: NDArray[np.int64]) -> CrossValidated:
    """For each fold the threshold is chosen on all the others (see `best`), and the accuracy measured on the fold."""
    found = []
    for fold in np.unique(folds):
        inside = folds == fold
        cosine = best(roc(cosines[~inside], same[~inside]))
        found.append((float(((cosines[inside] >= cosine) == same[inside]).mean()), cosine))
    accuracies, chosen = zip(*found, strict=True)
    return CrossValidated(accuracies, chosen)


def wilson(count: int, total: int) -> tuple[float, float]:
    """The interval of 95 % of a share, after Wilson, 1927. It takes the pairs to be independent of each other, which
    pairs that share people are not: the truth is wider.
    """
    share, square = count / total, _Z**2
    middle = (share + square / (2 * total)) / (1 + square / total)
    reach = _Z / (1 + square / total) * math.sqrt(share * (1 - share) / total + square / (4 * total**2))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def _at_least(cosines: Floats, thresholds: Floats) -> NDArray[np.int64]:
    return len(cosines) - np.searchsorted(np.sort(cosines), thresholds, "left")


def _kinds(same: NDArray[np.bool_]) -> tuple[int, int]:
    return int(same.sum()), int((~same).sum())
