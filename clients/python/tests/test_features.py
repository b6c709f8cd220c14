"""Features read, refused, and compared to the score that the service would give."""

import copy
import math
import pickle
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clients.python.tests.answering import EMBEDDER, feature
from facebento_client import Feature, FeatureInvalidError, FeatureMismatchError, ScoreMapping
from facebento_client.gallery import Gallery, Match
from faces import errors
from faces.feature import ScoreMapping as ServiceMapping
from faces.feature import cosine_similarity, decode, encode

MAPPING = ScoreMapping(EMBEDDER.hex(), 0.82, 5.5)


def random_features(count: int, dimensions: int = 128) -> list[Feature]:
    vectors = np.random.default_rng(7).normal(size=(count, dimensions)) + 1
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return [Feature(encode(each, EMBEDDER)) for each in unit]


def array(feature: Feature) -> NDArray[np.float32]:
    return np.array(feature.vector, np.float32)


def test_what_the_service_encodes_is_read() -> None:
    vector = np.array([0.6, -0.8, 0.0], np.float32)
    read = Feature(encode(vector, EMBEDDER))
    assert (read.fingerprint, read.dimensions) == (EMBEDDER.hex(), 3)
    assert read.vector == tuple(vector.tolist())
    assert Feature.from_base64(read.to_base64()) == read
    assert decode(bytes(read), EMBEDDER, 3).tolist() == vector.tolist()


def test_it_is_a_value() -> None:
    one, same, other = feature(0.6, 0.8), feature(0.6, 0.8), feature(1, 0)
    assert (one == same, one == other, len({one, same, other})) == (True, False, 2)
    assert copy.deepcopy(one) == pickle.loads(pickle.dumps(one)) == one  # noqa: S301  its own
    assert Feature(memoryview(one.data)) == one  # type: ignore[arg-type]  # as a database may answer it


def test_no_text_shows_the_vector() -> None:
    shown = repr(feature(0.6, 0.8))
    assert shown == f"Feature(fingerprint='{EMBEDDER.hex()}', dimensions=2)"


def signed(body: bytes) -> bytes:
    return body + struct.pack("<I", zlib.crc32(body))


GOOD = feature(0.6, 0.8).data


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "too short"),
        (GOOD[:27], "too short"),
        (b"PNG!" + GOOD[4:], "not a feature"),
        (signed(b"FBFT\x02" + GOOD[5:-4]), "version 2 "),
        (signed(b"FBFT\x01\x02" + GOOD[6:-4]), "element type 2"),
        (GOOD[:-1], "truncated"),
        (GOOD + b"\0", "too long"),
        (GOOD[:30] + b"\x55" + GOOD[31:], "checksum"),
        (signed(GOOD[:24] + struct.pack("<ff", 0, 0)), "zero"),
        (signed(GOOD[:24] + struct.pack("<ff", math.nan, 1)), "not finite"),
        (signed(GOOD[:24] + struct.pack("<ff", math.inf, 1)), "not finite"),
    ],
)
def test_what_is_none_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(FeatureInvalidError, match=says):
        Feature(data)


@given(
    st.binary(max_size=80)
    | st.builds(
        lambda at, value: signed(GOOD[:at] + bytes([value]) + GOOD[at + 1 : -4]),
        st.integers(0, 31),
        st.integers(0, 255),
    )
)
def test_what_the_service_takes_is_taken_and_nothing_else(data: bytes) -> None:
    fingerprint, dimensions = data[8:24], int.from_bytes(data[6:8], "little")
    try:
        expected = decode(data, fingerprint, dimensions)
    except errors.FeatureInvalidError:
        with pytest.raises(FeatureInvalidError):
            Feature(data)
    else:
        assert Feature(data).vector == tuple(expected.tolist())


@pytest.mark.parametrize("text", ["%%%", "AAA", "schön", "AA AA"])
def test_what_is_not_base64_is_refused(text: str) -> None:
    with pytest.raises(FeatureInvalidError, match="base64"):
        Feature.from_base64(text)


def test_the_score_is_the_services() -> None:
    theirs = ServiceMapping(MAPPING.cosine, MAPPING.steepness)
    one, *others = [*random_features(20), feature(*[0.5, *[0.0] * 127])]
    scores = []
    for other in [one, *others]:
        cosine = cosine_similarity(array(one), array(other))
        assert one.similarity(other) == pytest.approx(cosine, abs=1e-9)
        assert one.compare(other, MAPPING) == pytest.approx(theirs.score(cosine), abs=1e-9)
        scores.append(one.compare(other, MAPPING))
    assert scores[0] == pytest.approx(1)
    assert Gallery(MAPPING, enumerate([one, *others])).scores(one) == pytest.approx(scores, abs=1e-9)


@pytest.mark.parametrize("steepness", [0.5, 5.5, 500.0])
@pytest.mark.parametrize("cosine", [-1, -0.3, 0, 0.82, 0.99, 1])
def test_every_cosine_has_the_services_score(cosine: float, steepness: float) -> None:
    ours, theirs = ScoreMapping("", 0.82, steepness), ServiceMapping(0.82, steepness)
    assert ours.score(cosine) == theirs.score(cosine)


def test_the_operating_point_is_one_half() -> None:
    assert MAPPING.score(0.82) == 0.5
    with pytest.raises(ValueError, match="without a similarity"):
        MAPPING.score(math.nan)


@pytest.mark.parametrize(("cosine", "steepness"), [(1, 5), (-1, 5), (0.5, 0), (0.5, math.inf), (math.nan, 5)])
def test_a_mapping_that_is_none_is_refused(cosine: float, steepness: float) -> None:
    with pytest.raises(ValueError, match="between -1 and 1"):
        ScoreMapping("", cosine, steepness)


def test_features_of_two_embedders_are_not_compared() -> None:
    ours, theirs = feature(0.6, 0.8), feature(0.6, 0.8, embedder=bytes(16))
    ways: list[Any] = [
        lambda: ours.similarity(theirs),
        lambda: ours.compare(theirs, MAPPING),
        lambda: theirs.compare(theirs, MAPPING),
        lambda: Gallery(MAPPING, [("her", theirs)]),
        lambda: Gallery(MAPPING, [("her", ours)]).scores(theirs),
        lambda: Gallery(MAPPING, []).search(theirs),
    ]
    for compare in ways:
        with pytest.raises(FeatureMismatchError, match=f"0{{32}}.*{EMBEDDER.hex()}|{EMBEDDER.hex()}.*0{{32}}"):
            compare()


def test_vectors_of_two_lengths_are_not_compared_though_their_fingerprints_are_one() -> None:
    short, long = feature(0.6, 0.8), feature(0.6, 0.8, 0.1)
    with pytest.raises(FeatureMismatchError, match="2 dimensions"):
        short.compare(long, MAPPING)
    with pytest.raises(FeatureMismatchError, match="2 dimensions"):
        Gallery(MAPPING, [(1, short), (2, long)])
    with pytest.raises(FeatureMismatchError, match="3 dimensions"):
        Gallery(MAPPING, [(1, short)]).search(long)


def test_a_gallery_names_the_most_alike_first() -> None:
    gallery = Gallery(MAPPING, [("far", feature(-0.6, 0.8)), ("near", feature(0.9, 0.1)), ("same", feature(0.6, 0.8))])
    best = gallery.search(feature(0.6, 0.8), limit=2)
    assert [match.key for match in best] == ["same", "near"]
    assert best[0].score == pytest.approx(1)
    assert best[1] == Match("near", feature(0.6, 0.8).compare(feature(0.9, 0.1), MAPPING))
    assert len(gallery) == 3


def test_an_empty_gallery_knows_nobody() -> None:
    gallery = Gallery[str](MAPPING, [])
    assert gallery.search(feature(0.6, 0.8)) == []
    assert len(gallery.scores(feature(0.6, 0.8))) == 0
