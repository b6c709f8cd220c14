"""`facebento models calibrate`, and what becomes of it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from cli.main import main
from evaluation.journal import Answer
from evaluation.measure import measure_pairs
from evaluation.pairs import Pair
from faces.feature import ScoreMapping
from models import store
from models.calibration import FILE
from models.catalog import describe
from pipeline import Pipeline
from search import SearchOptions
from threads import Threads

EMBEDDER = describe("dlib-resnet-v1")
SAME = [0.96, 0.95, 0.94, 0.89]
DIFFERENT = [0.91, 0.9, 0.88, 0.87, 0.86, 0.85, 0.8, 0.7, 0.6, 0.5]


@pytest.fixture(autouse=True)
def evaluation(store_folder: Path, tmp_path: Path) -> Path:
    """The file of an evaluation of fourteen pairs, and the models that it names in the store."""
    assert store_folder.exists()
    store.save(describe("centerface"), b"detector")
    store.save(EMBEDDER, b"embedder")
    cosines = [(each, True) for each in SAME] + [(each, False) for each in DIFFERENT]
    answers = {f"{n}": Answer.of(np.array([c, np.sqrt(1 - c**2)], np.float32)) for n, (c, _) in enumerate(cosines)}
    found = measure_pairs(
        [Pair("one", f"{number}", kind, fold=None) for number, (_, kind) in enumerate(cosines)],
        answers | {"one": Answer.of(np.array([1, 0], np.float32))},
        ScoreMapping(0.92, 4),
        facebento="1.0",
        data="fourteen pairs",
        detector="centerface:1",
        embedder=EMBEDDER.tag,
        fingerprint=EMBEDDER.fingerprint,
    )
    found.save(tmp_path / "evaluation.json")
    return tmp_path / "evaluation.json"


def calibrate(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["models", "calibrate", *map(str, arguments)])


def mapping() -> ScoreMapping:
    spec = store.find("dlib-resnet-v1").description.embedder
    assert spec is not None
    return spec.mapping


def info() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(CliRunner().invoke(main, ["models", "info", "dlib-resnet-v1"]).stdout)
    return read


class Upload:
    field = "feature1"

    def __init__(self, feature: bytes) -> None:
        self._feature = feature

    def read(self) -> bytes:
        return self._feature


def score(cosine: float) -> float:
    """What the pipeline of the stored models says of two features with that cosine."""

    async def run(_: Any) -> Any:
        raise AssertionError("features need no model")

    pipeline = Pipeline(
        detect=run,
        embed=run,
        detector=store.find("centerface").description,
        embedder=store.find("dlib-resnet-v1").description,
        threads=Threads(1, "decode"),
        max_pixels=1_000_000,
        max_image_memory_bytes=1_000_000,
        search=SearchOptions("never", 12, 200, rotations=False),
    )
    one, other = np.zeros((2, 128), np.float32)
    one[0], other[:2] = 1, (cosine, np.sqrt(1 - cosine**2))
    first, second = (Upload(pipeline.feature(each)) for each in (one, other))
    return asyncio.run(pipeline.compare_features(first, second))


def test_the_score_is_a_half_where_the_errors_are_equal(evaluation: Path) -> None:
    assert score(0.92) == pytest.approx(0.5, abs=1e-5)
    result = calibrate(evaluation)
    assert result.exit_code == 0, result.output
    # Falling: S .96 .95 .94, D .91 .9, S .89, D .88. At .895 FAR 2/10, FRR 1/4, nearer than 2/10 and 0 below it.
    assert mapping().cosine == pytest.approx(0.895)
    assert score(0.895) == pytest.approx(0.5, abs=1e-5)
    assert score(0.92) > 0.5 > score(0.87)
    first = result.stdout.splitlines()[0]
    assert first.startswith(f"{EMBEDDER.tag}: score 0.5 at a cosine of 0.8950, steepness ")
    assert first.endswith("measured on fourteen pairs at the equal error rate, 20.00%")
    assert result.stderr.startswith("Warning: 4 pairs of one person and 10 of two say little")


def test_at_a_far_and_at_a_cosine(evaluation: Path) -> None:
    # One of ten may pass, .91; .9 may not.
    assert calibrate(evaluation, "--far", 0.1).exit_code == 0
    assert score(0.905) == pytest.approx(0.5, abs=1e-5)
    assert calibrate(evaluation, "--cosine", 0.9).exit_code == 0
    assert score(0.9) == pytest.approx(0.5, abs=1e-5)


def test_info_shows_it_until_it_is_reset(evaluation: Path) -> None:
    before = info()
    assert "calibration" not in before
    calibrate(evaluation, "--cosine", 0.9)
    calibrated = info()
    measured = calibrated.pop("calibration")
    assert calibrated == before  # tag, fingerprint and all
    assert (measured["chosen"], measured["data"]) == ("a cosine of 0.9", "fourteen pairs")
    assert [point["cosine"] for point in measured["points"]] == [0.9, pytest.approx(0.905)]
    result = calibrate("--reset")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{EMBEDDER.tag}: score 0.5 at a cosine of 0.9200, steepness 4.00")
    assert info() == before
    assert score(0.92) == pytest.approx(0.5, abs=1e-5)


def test_what_it_writes_holds_no_cosines_and_names_nobody(evaluation: Path) -> None:
    calibrate(evaluation)
    told = json.loads((store.find("dlib-resnet-v1").path.parent / FILE).read_text())
    assert told.keys() == {"calibration", "sha256"}
    assert told["calibration"].keys() == {
        "fingerprint", "score", "chosen", "data", "same_pairs", "different_pairs", "date", "points"
    }  # fmt: skip


def test_one_of_another_embedder_is_refused(evaluation: Path) -> None:
    told = json.loads(evaluation.read_text()) | {"fingerprint": "0" * 32}
    evaluation.write_text(json.dumps(told))
    result = calibrate(evaluation)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: it was measured with {EMBEDDER.tag}")
    assert mapping() == ScoreMapping(0.92, 4)


def test_a_damaged_one_can_be_reset(evaluation: Path) -> None:
    calibrate(evaluation)
    (store.find("dlib-resnet-v1").path.parent / FILE).write_text("{}")
    failed = CliRunner().invoke(main, ["models", "info", "dlib-resnet-v1"])
    assert failed.exit_code == 1
    assert "Run: facebento models calibrate --reset --embedder dlib-resnet-v1" in failed.stderr
    assert calibrate("--reset", "--embedder", "dlib-resnet-v1").exit_code == 0
    assert mapping() == ScoreMapping(0.92, 4)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "give either FILE"),
        (["{file}", "--reset"], "give either FILE"),
        (["--reset", "--far", "0.1"], "give either FILE"),
        (["--reset", "--cosine", "0"], "give either FILE"),
        (["{file}", "--far", "0.1", "--cosine", "0.5"], "give either FILE"),
        (["{file}", "--far", "0"], "0.0 is not in the range 0<x<1"),
        (["{file}", "--cosine", "1"], "1.0 is not in the range -1<x<1"),
        (["{file}", "--far", "0.001"], "a FAR of 0.001 takes at least 1,000 pairs of two people"),
        (["{file}", "--embedder", "centerface"], "centerface is no embedder"),
        (["--reset", "--embedder", "centerface"], "centerface is no embedder"),
        (["{file}", "--embedder", "nobody"], "no model is called 'nobody'"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(evaluation: Path, arguments: list[str], told: str) -> None:
    result = calibrate(*(each.format(file=evaluation) for each in arguments))
    assert result.exit_code in {1, 2}
    assert told in result.stderr
    assert mapping() == ScoreMapping(0.92, 4)


def test_a_file_that_is_no_evaluation(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    result = calibrate(tmp_path / "other.json")
    assert result.exit_code == 1
    assert "other.json is no evaluation of pairs" in result.stderr
