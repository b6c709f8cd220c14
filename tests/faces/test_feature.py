import math
import struct
import zlib
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from faces.errors import FeatureError, FeatureInvalidError, FeatureModelMismatchError
from faces.feature import ScoreMapping, cosine_similarity, decode, encode, usable

FINGERPRINT = bytes(range(16))
VECTOR = np.array([0.5, -0.25, 1e-3, 3.0], np.float32)


def feature(
    vector: Any = VECTOR,
    *,
    magic: bytes = b"FBFT",
    version: int = 1,
    element: int = 1,
    dimension: int | None = None,
    fingerprint: bytes = FINGERPRINT,
) -> bytes:
    """A feature written by hand as docs/feature-format.md tells it, its checksum right whatever is in it."""
    values = np.asarray(vector, np.float64).astype(np.float32)
    body = magic + bytes([version, element]) + struct.pack("<H", len(values) if dimension is None else dimension)
    body += fingerprint + b"".join(struct.pack("<f", value) for value in values)
    return body + struct.pack("<I", zlib.crc32(body))


def test_a_feature_has_the_documented_bytes() -> None:
    assert encode(VECTOR, FINGERPRINT) == feature()
    assert len(feature()) == 24 + 4 * 4 + 4


def test_a_known_feature_has_its_known_bytes() -> None:
    expected = "46424654 01 01 0200 000102030405060708090a0b0c0d0e0f 0000803f 000000c0"
    body = bytes.fromhex(expected)
    assert encode(np.array([1, -2], np.float32), FINGERPRINT) == body + zlib.crc32(body).to_bytes(4, "little")


def test_a_vector_comes_back_as_it_was() -> None:
    vector = np.random.default_rng(0).normal(size=512).astype(np.float32)
    found = decode(encode(vector, FINGERPRINT), FINGERPRINT, 512)
    assert np.array_equal(found, vector)
    assert found.dtype == np.dtype(np.float32)
    assert found.dtype.isnative


def test_a_big_endian_vector_is_written_as_any_other() -> None:
    assert encode(VECTOR.astype(">f4"), FINGERPRINT) == feature()


def test_every_damaged_byte_is_noticed() -> None:
    whole = feature()
    for index in range(len(whole)):
        for flip in (1, 0x80, 0xFF):
            broken = whole[:index] + bytes([whole[index] ^ flip]) + whole[index + 1 :]
            with pytest.raises(FeatureInvalidError):
                decode(broken, FINGERPRINT, 4)


def test_every_truncated_feature_is_noticed() -> None:
    whole = feature()
    for length in range(len(whole)):
        with pytest.raises(FeatureInvalidError):
            decode(whole[:length], FINGERPRINT, 4)


VECTORS = arrays(np.float32, st.integers(1, 40), elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
FINGERPRINTS = st.binary(min_size=16, max_size=16)


@given(VECTORS, FINGERPRINTS)
def test_any_vector_with_a_direction_comes_back_to_the_bit(vector: Any, fingerprint: bytes) -> None:
    assume(vector.any())
    found = decode(encode(vector, fingerprint), fingerprint, len(vector))
    assert found.tobytes() == vector.tobytes()


@given(VECTORS, FINGERPRINTS, st.data())
def test_no_changed_byte_goes_unnoticed(vector: Any, fingerprint: bytes, data: st.DataObject) -> None:
    whole = bytearray(encode(vector, fingerprint))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(FeatureInvalidError):
        decode(bytes(whole), fingerprint, len(vector))


# NaN, infinities and zeros among them.
ANY_BODY = arrays("<f4", st.integers(0, 3), elements=st.floats(width=32)).map(lambda each: each.tobytes()) | st.binary()


@given(st.binary(max_size=100), ANY_BODY, st.integers(0, 3))
def test_any_bytes_are_a_vector_or_a_feature_error(header: bytes, body: bytes, dimensions: int) -> None:
    made = b"FBFT\1\1" + (len(body) // 4).to_bytes(2, "little") + FINGERPRINT + body
    for data in (header, header + body, made, made + zlib.crc32(made).to_bytes(4, "little")):
        try:
            vector = decode(data, FINGERPRINT, dimensions)
        except FeatureError:
            continue
        assert vector.shape == (dimensions,)
        assert np.isfinite(vector).all()
        assert vector.any()
        assert encode(vector, FINGERPRINT) == data


FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(arrays(np.float32, 5, elements=FINITE), arrays(np.float32, 5, elements=FINITE))
def test_the_similarity_of_any_two_vectors_is_a_cosine(first: Any, second: Any) -> None:
    assume(first.any() and second.any())
    assert -1 <= cosine_similarity(first, second) <= 1
    assert cosine_similarity(first, first) > 0.999999


@given(st.floats(-0.999999, 0.999999), st.floats(0.01, 1000), st.floats(-1, 1), st.floats(-1, 1))
def test_any_mapping_keeps_the_order_and_stays_a_share(
    point: float, steepness: float, one: float, other: float
) -> None:
    mapping = ScoreMapping(point, steepness)
    low, high = (mapping.score(cosine) for cosine in sorted((one, other)))
    assert 0 <= low <= high <= 1
    assert mapping.score(point) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "too short"),
        (b"\0" * 1000, "not a feature"),
        (b"FBFT" * 2_500_000, "version"),
        (feature() + b"\0", "too long"),
        (feature() * 2, "too long"),
        (feature(magic=b"FBFU"), "not a feature"),
        (feature(version=2), "format version 2"),
        (feature(version=0), "format version 0"),
        (feature(element=2), "element type 2"),
        (feature(dimension=5), "truncated"),
        (feature(dimension=3), "too long"),
        (feature(dimension=65535), "truncated"),
        (feature([0, math.nan, 0, 0]), "not finite"),
        (feature([math.inf, 0, 0, 1]), "not finite"),
        (feature([-math.inf, 0, 0, 1]), "not finite"),
        (feature([0, 0, 0, 0]), "zero"),
        (feature([0.0, -0.0, 0.0, -0.0]), "zero"),
    ],
)
def test_what_is_no_feature_is_told_so(data: bytes, message: str) -> None:
    with pytest.raises(FeatureInvalidError, match=message):
        decode(data, FINGERPRINT, 4)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (feature(fingerprint=bytes(16)), "0" * 32),
        (feature([1, 2, 3]), "different embedders"),
        (feature([]), "different embedders"),
    ],
)
def test_another_embedders_feature_is_told_apart_from_a_broken_one(data: bytes, message: str) -> None:
    with pytest.raises(FeatureModelMismatchError, match=message):
        decode(data, FINGERPRINT, 4)


def test_an_empty_vector_is_no_direction() -> None:
    with pytest.raises(FeatureInvalidError):
        decode(feature([]), FINGERPRINT, 0)


@pytest.mark.parametrize("size", [3e38, 1e38, 1, 1e-38, 1e-45])
def test_vectors_of_any_length_are_compared_by_their_direction(size: float) -> None:
    first = decode(feature([size, size, 0, 0]), FINGERPRINT, 4)
    second = decode(feature([size, 0, 0, size]), FINGERPRINT, 4)
    assert cosine_similarity(first, second) == pytest.approx(0.5)
    assert cosine_similarity(first, first) == pytest.approx(1)
    assert cosine_similarity(first, -first) == pytest.approx(-1)
    assert cosine_similarity(first, VECTOR) == pytest.approx(cosine_similarity(VECTOR, first))


def test_similarity_stays_between_minus_one_and_one() -> None:
    random = np.random.default_rng(0)
    for _ in range(500):
        vector = random.normal(size=7).astype(np.float32)
        near = vector * np.float32(random.uniform(0.1, 9))
        assert -1 <= cosine_similarity(vector, -near) <= -0.999999
        assert 0.999999 <= cosine_similarity(vector, near) <= 1


MAPPINGS = [ScoreMapping(0.92, 4), ScoreMapping(0.3, 2), ScoreMapping(-0.5, 0.7), ScoreMapping(0.0, 5)]


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_the_score_is_one_for_equal_and_a_half_at_the_operating_point(mapping: ScoreMapping) -> None:
    assert mapping.score(1) == 1
    assert mapping.score(1.0000001) == 1
    assert mapping.score(mapping.cosine) == 0.5


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_what_is_not_a_number_is_no_likeness(mapping: ScoreMapping) -> None:
    with pytest.raises(ValueError, match="cosine"):
        mapping.score(float("nan"))


@pytest.mark.parametrize(
    ("row", "good"), [([0.6, 0.8], True), ([0, 0], False), ([float("nan"), 1], False), ([3, 4], False)]
)
def test_an_embedding_is_a_unit_vector(row: list[float], good: bool) -> None:
    rows = np.array([[1, 0], row], np.float32)
    assert usable(rows) is good


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_the_score_rises_with_the_similarity_and_stays_a_share(mapping: ScoreMapping) -> None:
    scores = [mapping.score(cosine) for cosine in np.linspace(-1, 1, 2001).tolist()]
    assert all(low < high for low, high in pairwise(scores))
    assert scores[0] > 0
    assert scores[-1] == 1


def test_the_score_is_the_documented_formula() -> None:
    mapping = ScoreMapping(0.92, 4)
    for cosine in (-1, 0, 0.5, 0.9, 0.95):
        ratio = math.sqrt(2 - 2 * cosine) / math.sqrt(2 - 2 * 0.92)
        assert mapping.score(cosine) == pytest.approx(1 / (1 + ratio**4), rel=1e-12)


def test_the_steepest_mapping_does_not_overflow() -> None:
    mapping = ScoreMapping(0.9999999, 1000)
    assert mapping.score(-1) == 0
    assert mapping.score(1) == 1


@pytest.mark.parametrize(
    ("cosine", "steepness"),
    [(1, 4), (-1, 4), (1.5, 4), (math.nan, 4), (0.5, 0), (0.5, -1), (0.5, math.nan), (0.5, -math.inf)],
)
def test_a_mapping_that_can_not_be_one_is_refused(cosine: float, steepness: float) -> None:
    with pytest.raises(ValueError, match="steepness"):
        ScoreMapping(cosine, steepness)
