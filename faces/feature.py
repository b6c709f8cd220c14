"""Embeddings, the portable features made of them, and how alike two are.

A feature is a binary template, little-endian throughout (docs/feature-format.md has it byte by byte):

    offset  size  what
    0       4     magic, b"FBFT"
    4       1     format version, 1
    5       1     element type, 1: IEEE 754 binary32
    6       2     dimension d, unsigned
    8       16    fingerprint of the embedder
    24      4 d   the vector
    24+4d   4     CRC-32 (zlib's, as in PNG and ZIP) of all bytes before it
"""

import math
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.errors import FeatureInvalidError, FeatureModelMismatchError

Embedding = NDArray[np.float32]  # [d]

MAGIC = b"FBFT"
FORMAT_VERSION = 1
FLOAT32 = 1
_HEADER = struct.Struct("<4sBBH16s")
_CHECKSUM = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class ScoreMapping:
    """Cosine similarity -> score.

    With d = sqrt(2 - 2 cosine), the distance of the normalised vectors, and d0 that of the operating point:
    score = 1 / (1 + (d / d0) ** steepness). One for equal vectors, exactly 0.5 at the operating point, falling
    towards 0, strictly monotonic in the cosine.
    """

    cosine: float  # the embedder's operating point
    steepness: float  # how fast the score leaves 0.5 there

    def __post_init__(self) -> None:
        if not (-1 < self.cosine < 1 and self.steepness > 0):
            raise ValueError("the cosine must lie between -1 and 1, and the steepness above 0")

    def score(self, cosine: float) -> float:
        """cosine: -1 to 1, give or take a rounding. Raises ValueError for NaN, which must not pass for a likeness."""
        if math.isnan(cosine):
            raise ValueError("there is no score without a cosine")
        ratio = math.sqrt(max(0.0, 2 - 2 * cosine)) / math.sqrt(2 - 2 * self.cosine)
        if ratio <= 1:
            return 1 / (1 + math.pow(ratio, self.steepness))
        # The same, the other way round: a steep power of a large ratio would overflow.
        inverse = math.pow(ratio, -self.steepness)
        return inverse / (1 + inverse)


def cosine_similarity(first: Embedding, second: Embedding) -> float:
    """Of two vectors [d] of any length but zero; -1 to 1."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    # Each to unit length by itself: the product of two large norms could overflow.
    return float(np.clip((a / np.linalg.norm(a)) @ (b / np.linalg.norm(b)), -1, 1))


def usable(embeddings: NDArray[np.float32]) -> bool:
    """Whether each row of [n, d] is a unit vector, as an embedder's answer is unless its device or its model fails."""
    return bool((abs(np.linalg.norm(embeddings, axis=1) - 1) < 0.01).all())  # NaN compares as false


def encode(embedding: Embedding, fingerprint: bytes) -> bytes:
    """embedding: float32 [d]. fingerprint: the 16 bytes that name the embedder."""
    body = _HEADER.pack(MAGIC, FORMAT_VERSION, FLOAT32, len(embedding), fingerprint)
    body += embedding.astype("<f4").tobytes()
    return body + _CHECKSUM.pack(zlib.crc32(body))


def decode(feature: bytes, fingerprint: bytes, dimensions: int) -> Embedding:
    """The vector in a feature of the embedder with this fingerprint: float32 [dimensions].

    Raises FeatureInvalidError, FeatureModelMismatchError.
    """
    if len(feature) < _HEADER.size + _CHECKSUM.size:
        raise FeatureInvalidError("The feature is too short to be one. Send it as it was answered.")
    magic, version, element, dimension, made_by = _HEADER.unpack_from(feature)
    if magic != MAGIC:
        raise FeatureInvalidError("This is not a feature of this service. Send the `feature` field as it was answered.")
    if (version, element) != (FORMAT_VERSION, FLOAT32):
        raise FeatureInvalidError(
            f"The feature has format version {version} and element type {element}; this service reads version "
            f"{FORMAT_VERSION} with element type {FLOAT32}. Extract it again from the image."
        )
    if len(feature) != _HEADER.size + 4 * dimension + _CHECKSUM.size:
        raise FeatureInvalidError("The feature is truncated or too long. Send it as it was answered.")
    if _CHECKSUM.unpack_from(feature, len(feature) - _CHECKSUM.size)[0] != zlib.crc32(feature[: -_CHECKSUM.size]):
        raise FeatureInvalidError("The feature is damaged: its checksum is wrong. Send it as it was answered.")
    if made_by != fingerprint or dimension != dimensions:
        raise FeatureModelMismatchError(
            f"The feature was made by embedder {made_by.hex()}, and this service runs {fingerprint.hex()}. "
            "Features of different embedders can't be compared: extract it again from the image."
        )
    vector = np.frombuffer(feature, "<f4", dimension, _HEADER.size).astype(np.float32)
    if not np.isfinite(vector).all() or not vector.any():
        raise FeatureInvalidError("The feature's vector is zero or not finite. Extract it again from the image.")
    return vector
