import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from api.schemas import (
    DetectReqBody,
    DetectResponse,
    DetectResult,
    EmbeddingsReqBody,
    FeatureReqBody,
    FeatureScoreReqBody,
    MultiEmbeddingsReqBody,
    MultiFeatureReqBody,
    ScoreReqBody,
)
from faces.detection import Face


@pytest.mark.parametrize(
    ("body", "defaults"),
    [
        (DetectReqBody, {"seq": 0, "maxResults": 750, "detectSortType": 0}),
        (FeatureReqBody, {}),
        (EmbeddingsReqBody, {}),
        (MultiFeatureReqBody, {"maxResults": 128}),
        (MultiEmbeddingsReqBody, {"maxResults": 128}),
    ],
)
def test_defaults_are_the_contracts(body: type[BaseModel], defaults: dict[str, int]) -> None:
    assert body(image="QUJD").model_dump() == {"image": "QUJD", **defaults}


@pytest.mark.parametrize("body", [DetectReqBody, MultiFeatureReqBody, MultiEmbeddingsReqBody])
@pytest.mark.parametrize("value", [0, -1, 751, 10**9, 10**30, 1.5, "7", True, None, [7], float("nan")])
def test_max_results_is_a_whole_number_from_1_to_750(body: type[BaseModel], value: Any) -> None:
    with pytest.raises(ValidationError) as told:
        body.model_validate({"image": "", "maxResults": value})
    assert [error["loc"] for error in told.value.errors()] == [("maxResults",)]


@pytest.mark.parametrize("value", [1, 750])
def test_max_results_at_its_limits(value: int) -> None:
    assert DetectReqBody(image="", maxResults=value).maxResults == value


@pytest.mark.parametrize("value", [-1, 4, 9, "0", 0.5, False])
def test_the_sort_type_is_0_to_3(value: Any) -> None:
    with pytest.raises(ValidationError):
        DetectReqBody.model_validate({"image": "", "detectSortType": value})


@pytest.mark.parametrize("text", ["7.0", "7e0", "0.7E+1", "70e-1"])
def test_a_whole_number_may_be_written_as_any_number(text: str) -> None:
    body = DetectReqBody.model_validate_json(f'{{"image": "", "maxResults": {text}, "seq": {text}}}')
    assert (body.maxResults, body.seq) == (7, 7)
    assert isinstance(body.seq, int)


NUMBERS = st.integers() | st.floats() | st.text(max_size=5) | st.booleans() | st.none()
FIELDS = st.sampled_from(["image", "maxResults", "detectSortType", "seq", "other"])
DOCUMENTS = st.recursive(NUMBERS, lambda inner: st.lists(inner) | st.dictionaries(FIELDS, inner), max_leaves=10)


@given(st.dictionaries(FIELDS, DOCUMENTS) | DOCUMENTS)
@example({"image": "", "seq": 1e308})
def test_any_json_is_a_body_within_the_limits_or_a_validation_error(document: Any) -> None:
    try:
        body = DetectReqBody.model_validate_json(json.dumps(document))
    except ValidationError:
        return
    assert isinstance(body.image, str)
    assert 1 <= body.maxResults <= 750
    assert 0 <= body.detectSortType <= 3
    assert DetectResponse.model_validate_json(DetectResponse(seq=body.seq, faces=[]).model_dump_json()).seq == body.seq


@given(st.binary())
def test_any_bytes_are_a_body_or_a_validation_error(data: bytes) -> None:
    try:
        body = DetectReqBody.model_validate_json(data)
    except ValidationError:
        return
    assert json.loads(data)["image"] == body.image  # without that field nothing is a body


@pytest.mark.parametrize("seq", [0, -1, 2**63, -(2**70)])
def test_any_whole_number_is_a_seq_and_comes_back(seq: int) -> None:
    body = DetectReqBody.model_validate_json(f'{{"image": "", "seq": {seq}}}')
    assert f'"seq":{seq},' in DetectResponse(seq=body.seq, faces=[]).model_dump_json()


@pytest.mark.parametrize(
    ("body", "fields"),
    [(DetectReqBody, ["image"]), (ScoreReqBody, ["image1", "image2"]), (FeatureScoreReqBody, ["feature1", "feature2"])],
)
@pytest.mark.parametrize("value", [None, 1, [], {}, True])
def test_what_is_required_is_a_text(body: type[BaseModel], fields: list[str], value: Any) -> None:
    with pytest.raises(ValidationError) as told:
        body.model_validate({})
    assert [error["loc"] for error in told.value.errors()] == [(field,) for field in fields]
    with pytest.raises(ValidationError):
        body.model_validate(dict.fromkeys(fields, value))


def test_a_face_is_told_in_whole_pixels() -> None:
    marks = np.array([[10.2, 20.9], [30.999, 20], [-0.5, 0], [1, 2], [3, 4]], np.float32)
    told = DetectResult.of(Face(9.1, 0.0, 40.0, 50.01, 0.75, marks))
    assert told.model_dump() == {
        "processed": True,
        "confidence": 0.75,
        "boundingBox": {"left": 9, "top": 0, "right": 40, "bottom": 51},
        "landmarks": [{"x": 10, "y": 20}, {"x": 30, "y": 20}, {"x": -1, "y": 0}, {"x": 1, "y": 2}, {"x": 3, "y": 4}],
    }
    assert DetectResult.model_validate_json(told.model_dump_json()) == told


def test_no_face_is_told_in_zeros() -> None:
    told = DetectResult.of(None)
    assert told.model_dump() == {
        "processed": False,
        "confidence": 0.0,
        "boundingBox": {"left": 0, "top": 0, "right": 0, "bottom": 0},
        "landmarks": [{"x": 0, "y": 0}] * 5,
    }
    assert DetectResult.model_validate_json(told.model_dump_json()) == told


def test_a_face_at_the_border_stays_inside_the_image() -> None:
    told = DetectResult.of(Face(0.0, 0.0, 640.0, 480.0, 0.9, np.zeros((5, 2), np.float32))).boundingBox
    assert (told.left, told.top, told.right, told.bottom) == (0, 0, 640, 480)
