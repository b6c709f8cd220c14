"""Portable features, read and compared where they are kept: the score is the one of /v1/feature-score.

docs/feature-format.md of the service has the format byte by byte.
"""

import base64
import math
import struct
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from operator import mul
from typing import Self

from facebento_client.errors import FeatureInvalidError, FeatureMismatchError

_MAGIC, _VERSION, _FLOAT32 = b"FBFT", 1, 1
_HEADER = struct.Struct("<4sBBH16s")
_CHECKSUM = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class ScoreMapping:
    """An embedder's way from the cosine similarity of two embeddings to a score, as /v1/info/model/NAME tells it.

    With d = sqrt(2 - 2 cosine) and d0 that of the operating point: score = 1 / (1 + (d / d0) ** steepness).
    """

    fingerprint: str  # of the embedder whose features it is for: 32 hexadecimal digits
    cosine: float  # the embedder's operating point, where the score is 0.5
    steepness: float

    def __post_init__(self) -> None:
        if not (-1 < self.cosine < 1 and 0 < self.steepness < math.inf):
            raise ValueError("the cosine must lie between -1 and 1, and the steepness above 0")

    def score(self, similarity: float) -> float:
        """similarity: cosine of two embeddings, -1 to 1. The score: 0 to 1, higher is more alike."""
        if math.isnan(similarity):
            raise ValueError("there is no score without a similarity")
        ratio = math.sqrt(max(0.0, 2 - 2 * similarity)) / math.sqrt(2 - 2 * self.cosine)
        if ratio <= 1:
            return 1 / (1 + math.pow(ratio, self.steepness))
        # The same, the other way round: a steep power of a large ratio would overflow.
        inverse = math.pow(ratio, -self.steepness)
        return inverse / (1 + inverse)


@dataclass(frozen=True)
class Feature:
    """One face, as an embedder sees it. Personal data: no text of it is shown unless it is asked for.

    Raises FeatureInvalidError where the bytes are no feature, or a damaged one.
    """

    data: bytes = field(repr=False)
    fingerprint: str = field(init=False, compare=False)  # of the embedder that made it: 32 hexadecimal digits
    dimensions: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", bytes(self.data))  # some databases answer a memoryview
        data = self.data
        if len(data) < _HEADER.size + _CHECKSUM.size:
            raise FeatureInvalidError("This is too short to be a feature. Keep it as it was answered.")
        magic, version, element, dimensions, made_by = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise FeatureInvalidError("This is not a feature. Keep what was answered as `feature`, and nothing else.")
        if (version, element) != (_VERSION, _FLOAT32):
            raise FeatureInvalidError(
                f"The feature has format version {version} and element type {element}; this client reads version "
                f"{_VERSION} with element type {_FLOAT32}. Take a newer client, or extract it again."
            )
        if len(data) != _HEADER.size + 4 * dimensions + _CHECKSUM.size:
            raise FeatureInvalidError("The feature is truncated or too long. Keep it as it was answered.")
        if _CHECKSUM.unpack_from(data, len(data) - _CHECKSUM.size)[0] != zlib.crc32(data[: -_CHECKSUM.size]):
            raise FeatureInvalidError("The feature is damaged: its checksum is wrong. Extract it again.")
        object.__setattr__(self, "fingerprint", made_by.hex())
        object.__setattr__(self, "dimensions", dimensions)
        if not (all(map(math.isfinite, self.vector)) and any(self.vector)):
            raise FeatureInvalidError("The feature's vector is zero or not finite. Extract it again.")

    @classmethod
    def from_base64(cls, text: str) -> Self:
        """As the service answers it. Raises FeatureInvalidError."""
        try:
            data = base64.b64decode(text, validate=True)
        except ValueError:
            raise FeatureInvalidError("The feature is not base64. Keep it as it was answered.") from None
        return cls(data)

    def to_base64(self) -> str:
        """As the service takes it."""
        return base64.b64encode(self.data).decode("ascii")

    def __bytes__(self) -> bytes:
        return self.data

    @cached_property
    def vector(self) -> tuple[float, ...]:
        """Of unit length but for roundings; as many numbers as the embedder has dimensions."""
        return struct.unpack_from(f"<{self.dimensions}f", self.data, _HEADER.size)

    @cached_property
    def norm(self) -> float:
        return math.hypot(*self.vector)

    def similarity(self, other: "Feature") -> float:
        """The cosine of the two vectors, -1 to 1. Raises FeatureMismatchError."""
        check_same(self.fingerprint, other.fingerprint)
        if self.dimensions != other.dimensions:
            raise FeatureMismatchError(f"One has {self.dimensions} dimensions, the other {other.dimensions}.")
        cosine = math.fsum(map(mul, self.vector, other.vector)) / self.norm / other.norm
        return min(1.0, max(-1.0, cosine))

    def compare(self, other: "Feature", mapping: ScoreMapping) -> float:
        """The score that the service gives: 0 to 1, and 0.5 at the embedder's operating point.

        mapping: as `Client.score_mapping()` answers it. Raises FeatureMismatchError.
        """
        check_same(self.fingerprint, mapping.fingerprint)
        return mapping.score(self.similarity(other))


def check_same(first: str, second: str) -> None:
    """Two embedders' fingerprints. Raises FeatureMismatchError."""
    if first != second:
        raise FeatureMismatchError(
            f"One is of embedder {first}, the other of {second}. Features of different embedders can't be compared: "
            "extract them again by the same one."
        )
