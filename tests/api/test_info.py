import datetime as dt
import json

import pytest

from api.info import model_info
from faces.feature import ScoreMapping
from models.calibration import Calibration, MeasuredPoint
from models.catalog import catalog, describe
from models.licence import Acceptance


@pytest.mark.parametrize("name", catalog())
def test_every_model_tells_what_the_contract_asks_for(name: str) -> None:
    told = model_info(describe(name))
    assert told["name"] == name
    assert {"role", "source", "licence", "sha256", "input_size", "thresholds"} <= told.keys()
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_a_detector_tells_its_thresholds() -> None:
    told = model_info(describe("centerface"))
    assert told["role"] == "detector"
    assert told["input_size"] == 640
    assert told["thresholds"] == {"score": 0.5, "iou": 0.3}
    assert "fingerprint" not in told


def test_an_embedder_tells_how_its_score_is_made() -> None:
    description = describe("dlib-resnet-v1")
    told = model_info(description)
    assert told["dimensions"] == 128
    assert told["fingerprint"] == description.fingerprint
    assert told["score_mapping"]["cosine"] == 0.92
    assert told["score_mapping"]["steepness"] == 4
    assert told["thresholds"] == {"cosine": 0.92}
    assert [point["score"] for point in told["operating_points"]] == [0.5]
    assert told["operating_points"][0]["accuracy"] == 0.9938


def test_the_formula_told_is_the_one_in_use() -> None:
    description = describe("dlib-resnet-v1")
    assert description.embedder is not None
    told = model_info(description)["score_mapping"]
    formula = told["formula"].partition(",")[0].removeprefix("score = ")
    for similarity in (0.5, 0.92, 0.99):
        names = {"sqrt": lambda x: x**0.5, "similarity": similarity, **told}
        score = eval(formula, {"__builtins__": {}}, names)  # noqa: S307  a text of this project
        assert score == pytest.approx(description.embedder.score.score(similarity))


def test_a_licence_is_told_with_its_acceptance() -> None:
    free = model_info(describe("centerface"))
    assert (free["licence"], free["licence_terms"], free["licence_restricts_use"]) == ("MIT", None, False)
    assert free["licence_accepted_at"] is None
    fields = {"licence": "for research alone", "terms": "https://example.org/terms"}
    restricted = describe("centerface").model_copy(update=fields | {"acceptance": True})
    accepted = Acceptance(**fields, accepted_at=dt.datetime(2027, 1, 31, 12, tzinfo=dt.UTC))
    told = model_info(restricted, accepted)
    assert (told["licence"], told["licence_terms"]) == ("for research alone", "https://example.org/terms")
    assert told["licence_restricts_use"] is True
    assert told["licence_accepted_at"] == "2027-01-31T12:00:00+00:00"


def test_a_model_of_the_users_own_has_no_source() -> None:
    own = describe("centerface").model_copy(update={"source": None})
    assert model_info(own)["source"] is None


def test_a_calibrated_embedder_tells_what_was_measured() -> None:
    published = describe("dlib-resnet-v1")
    points = [(0.9, 0.01, 0.99), (0.95, 0.001, 0.9)]
    calibration = Calibration(
        fingerprint=published.fingerprint,
        score=ScoreMapping(0.95, 9),
        chosen="a FAR of 0.001",
        data="our own faces",
        same_pairs=3000,
        different_pairs=4000,
        date=dt.date(2027, 1, 31),
        points=tuple(MeasuredPoint(cosine=c, far=far, tar=tar, accuracy=0.97) for c, far, tar in points),
    )
    told = model_info(published.calibrated(calibration))
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert (told["score_mapping"]["cosine"], told["score_mapping"]["steepness"]) == (0.95, 9)
    assert told["thresholds"] == {"cosine": 0.95}
    assert told["calibration"] == {
        "chosen": "a FAR of 0.001",
        "data": "our own faces",
        "same_pairs": 3000,
        "different_pairs": 4000,
        "date": "2027-01-31",
    }
    first, loose, strict = told["operating_points"]
    assert (first["cosine"], first["accuracy"], first["data"][:3]) == (0.92, 0.9938, "LFW")
    assert first["score"] < 0.5  # by the mapping in use
    assert strict == {
        "score": 0.5,
        "cosine": 0.95,
        "far": 0.001,
        "tar": 0.9,
        "accuracy": 0.97,
        "data": "our own faces",
        "source": "measured where it runs, on 2027-01-31",
    }
    assert (loose["far"], loose["tar"]) == (0.01, 0.99)
    # All that was told before is told still.
    assert model_info(published)["calibration"] is None
    assert told.keys() == model_info(published).keys()
    assert told["fingerprint"] == published.fingerprint
