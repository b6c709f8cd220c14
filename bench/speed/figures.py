"""Medians and their spread, of rounds that take turns."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Spread:
    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(median(values), min(values), max(values))

    def text(self, digits: int = 2) -> str:
        return f"{self.median:.{digits}f} ({self.least:.{digits}f} to {self.most:.{digits}f})"


def against_neighbours(values: Sequence[float], between: Sequence[float]) -> list[float]:
    """Each value over the mean of what was measured right before and right after it.

    between: one more than there are values. A machine that is slower for a while then makes both slower.
    """
    if len(between) != len(values) + 1:
        raise ValueError(f"{len(values)} values lie between {len(values) + 1}, and not {len(between)}")
    means = ((before + after) / 2 for before, after in itertools.pairwise(between))
    return [value / mean for value, mean in zip(values, means, strict=True)]
