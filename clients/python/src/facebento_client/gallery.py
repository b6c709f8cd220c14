"""One feature against many, at once. Needs numpy."""

from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

from facebento_client.errors import FeatureMismatchError
from facebento_client.features import Feature, ScoreMapping, check_same

try:
    import numpy as np
    from numpy.typing import NDArray
except ImportError as error:
    raise ImportError("A gallery needs numpy: pip install 'facebento-client[gallery]'") from error

K = TypeVar("K")


class Match(NamedTuple, Generic[K]):
    """One that a gallery holds, and how alike it is."""

    key: K
    score: float


class Gallery(Generic[K]):
    """Many features of one embedder, and whose each is. 100,000 of 128 dimensions take 100 MB."""

    def __init__(self, mapping: ScoreMapping, entries: Iterable[tuple[K, Feature]]) -> None:
        """entries: keys may repeat, where somebody has several features. Raises FeatureMismatchError."""
        self._mapping = mapping
        self.keys: list[K] = []
        rows: list[NDArray[np.float64]] = []
        for key, feature in entries:
            check_same(feature.fingerprint, mapping.fingerprint)
            self.keys.append(key)
            rows.append(_unit(feature))
            if len(rows[-1]) != len(rows[0]):
                raise FeatureMismatchError(f"One has {len(rows[0])} dimensions, another {len(rows[-1])}.")
        self._rows = np.stack(rows) if rows else None

    def __len__(self) -> int:
        return len(self.keys)

    def scores(self, feature: Feature) -> NDArray[np.float64]:
        """How alike each of `keys` is: float64 [len(self)], 0 to 1. Raises FeatureMismatchError."""
        check_same(feature.fingerprint, self._mapping.fingerprint)
        if self._rows is None:
            return np.empty(0)
        if feature.dimensions != self._rows.shape[1]:
            raise FeatureMismatchError(f"One has {feature.dimensions} dimensions, the others {self._rows.shape[1]}.")
        cosines = np.clip(self._rows @ _unit(feature), -1, 1)
        ratios = np.sqrt((1 - cosines) / (1 - self._mapping.cosine))
        near = ratios <= 1
        # Where it is far the other way round, as ScoreMapping does: no power overflows.
        powers = np.where(near, ratios, 1 / np.where(near, 1, ratios)) ** self._mapping.steepness
        scores: NDArray[np.float64] = np.where(near, 1, powers) / (1 + powers)
        return scores

    def search(self, feature: Feature, limit: int = 5) -> list[Match[K]]:
        """The most alike, best first; at most `limit`. Raises FeatureMismatchError."""
        scores = self.scores(feature)
        best = np.argsort(-scores, kind="stable")[:limit]
        return [Match(self.keys[i], float(scores[i])) for i in best]


def _unit(feature: Feature) -> NDArray[np.float64]:
    return np.asarray(feature.vector) / feature.norm
