import datetime as dt
import json

import pytest

from api.info import model_info
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
