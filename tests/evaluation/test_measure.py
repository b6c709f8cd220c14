"""From answers to a report, on embeddings whose cosines are known."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from evaluation.boxes import Labelled
from evaluation.errors import MeasurementError
from evaluation.journal import Answer
from evaluation.measure import measure_boxes, measure_pairs
from evaluation.pairs import Pair
from evaluation.report import PairsEvaluation, boxes_table, pairs_table
from faces.feature import ScoreMapping

MAPPING = ScoreMapping(cosine=0.5, steepness=4)
COSINES = {"anna": 1.0, "anna2": 0.9, "anna3": 0.6, "bert": 0.55, "carl": 0.1, "dora": -0.2}


def answer(cosine: float) -> Answer:
    """Of an embedding with that cosine to anna's."""
    return Answer.of(np.array([cosine, math.sqrt(1 - cosine**2)], np.float32))


# Cosines .9 and .6 of one person, .55, .1 and -.2 of two.
PAIRS = [Pair("anna", other, same=other.startswith("anna"), fold=None) for other in list(COSINES)[1:]]
ANSWERS = {name: answer(cosine) for name, cosine in COSINES.items()}


def measured(pairs: list[Pair], answers: dict[str, Answer]) -> PairsEvaluation:
    return measure_pairs(
        pairs,
        answers,
        MAPPING,
        facebento="1.0",
        data="six people",
        detector="finder:1",
        embedder="teller:1",
        fingerprint="f" * 32,
    )


def test_pairs() -> None:
    found = measured(PAIRS, ANSWERS)
    assert found.cosines.same == (0.6, 0.9)
    assert found.cosines.different == (-0.2, 0.1, 0.55)
    every = found.every_pair
    assert every == found.answered
    assert (every.same, every.different, every.area_under_roc, every.equal_error.rate) == (2, 3, 1, 0)
    # At the served .5 one of three different ones passes: four of five are right.
    assert (every.served.cosine, every.served.score, every.served.far) == pytest.approx((0.5, 0.5, 1 / 3))
    assert every.served.accuracy == pytest.approx(0.8)
    assert every.best.cosine == pytest.approx(0.575)
    assert every.best.score > 0.5
    assert every.best.accuracy == 1
    # Two folds: each has a pair of one person.
    assert every.accuracy is not None
    assert len(every.accuracy.folds) == 2
    assert [point.threshold for point in every.at_far] == [None] * 6
    assert every.at_far[2].reason == "takes at least 1,000 pairs of two people, and there are 3"


def test_no_face_and_no_picture_count_as_most_different() -> None:
    found = measured(PAIRS, ANSWERS | {"anna2": Answer(), "carl": Answer(failed="broken")})
    assert found.failed == {"anna2": "no face was found", "carl": "broken"}
    assert (found.every_pair.same, found.every_pair.different) == (2, 3)
    # A pair of one person is now below all of two but one: it is lost at every threshold that refuses anything.
    assert found.every_pair.area_under_roc == pytest.approx(3.5 / 6)
    assert found.every_pair.served.tar == 0.5
    assert found.every_pair.served.far == pytest.approx(1 / 3)
    assert found.answered is not None
    assert (found.answered.same, found.answered.different, found.answered.area_under_roc) == (1, 2, 1)
    assert found.answered.served.tar == 1
    assert found.answered.accuracy is None
    assert found.cosines.same == (0.6,)
    assert found.cosines.different == (-0.2, 0.55)


def test_pairs_of_which_none_of_a_kind_has_an_answer() -> None:
    found = measured(PAIRS, ANSWERS | dict.fromkeys(["anna2", "anna3"], Answer()))
    assert found.answered is None
    assert found.every_pair.same == 2


def test_named_folds_are_taken() -> None:
    pairs = [Pair(each.first, each.second, each.same, fold=number % 3) for number, each in enumerate(PAIRS)]
    accuracy = measured(pairs, ANSWERS).every_pair.accuracy
    assert accuracy is not None
    assert len(accuracy.folds) == 3


def test_a_report_comes_back_from_its_file_and_names_nobody(tmp_path: Path) -> None:
    found = measured(PAIRS, ANSWERS | {"dora": Answer()})
    found.save(tmp_path / "new" / "evaluation.json")
    assert PairsEvaluation.load(tmp_path / "new" / "evaluation.json") == found
    text = (tmp_path / "new" / "evaluation.json").read_text()
    assert [name for name in COSINES if name in text] == ["dora"]  # which has no answer
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["evaluation.json"]


@pytest.mark.parametrize("text", ["", "{}", '{"kind": "boxes"}', "no JSON"])
def test_a_file_that_is_no_report(tmp_path: Path, text: str) -> None:
    file = tmp_path / "file.json"
    file.write_text(text)
    with pytest.raises(MeasurementError, match=r"file.json is no evaluation of pairs"):
        PairsEvaluation.load(file)
    with pytest.raises(MeasurementError, match="No such file"):
        PairsEvaluation.load(tmp_path / "none")


def test_the_table_of_pairs() -> None:
    lines = pairs_table(measured(PAIRS, ANSWERS)).splitlines()
    assert lines[0].split() == ["every", "pair"]
    assert lines[1].endswith(" 2, 3")
    assert "TAR at FAR 0.001" in lines[-4]
    assert lines[-4].endswith("- takes at least 1,000 pairs of two people, and there are 3")
    both = pairs_table(measured(PAIRS, ANSWERS | {"dora": Answer()})).splitlines()
    assert both[0].endswith(" pairs with two faces")
    assert both[1].split()[-4:] == ["2,", "3", "2,", "2"]


def test_boxes() -> None:
    # Two pictures with a face each: one found at .9 with a false alarm of .3, the other not found, since it is broken.
    box = (0.0, 0.0, 40.0, 40.0)
    labelled = [Labelled(name, np.array([box]), np.array([False])) for name in ("one", "two")]
    answers = {
        "one": Answer(faces=((*box, 0.9), (100, 0, 140, 40, 0.3))),
        "two": Answer(failed="broken"),
    }
    found, curve = measure_boxes(
        labelled,
        answers,
        facebento="1.0",
        data="two",
        detector="finder:1",
        score_threshold=0.5,
        lowest_confidence=0.01,
    )
    assert (found.faces, found.ignored, found.failed) == (2, 0, {"two": "broken"})
    every = found.sizes["all"]
    assert (every.average_precision, every.precision, every.recall) == (0.5, 1, 0.5)
    assert found.sizes["medium"].faces == 2
    assert found.sizes["large"].average_precision is None
    assert curve.recall.tolist() == [0.5, 0.5]
    assert json.loads(found.model_dump_json())["sizes"]["all"]["below"] is None
    assert "all" in boxes_table(found).splitlines()[1]
    assert boxes_table(found).splitlines()[1].split()[1:] == ["2", "50.00%", "100.00%", "50.00%"]
