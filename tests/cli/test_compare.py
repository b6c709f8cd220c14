"""`facebento compare`: photos and features, and the exit codes of diff."""

import asyncio
import base64
import json
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli import home
from cli.main import main
from evaluation.run import Photo
from pipeline import Pipeline

Run = Callable[..., Result]


@pytest.fixture
def two(photos: Path) -> tuple[Path, Path]:
    """Photos of two people."""
    return photos / "a.jpg", photos / "more" / "a.jpg"


def test_two_photos_get_the_score_of_the_service(run: Run, two: tuple[Path, Path], opened: Pipeline) -> None:
    told = json.loads(run("compare", *two, "--json").stdout)
    wanted = asyncio.run(opened.compare(*(Photo(each, each.read_bytes()) for each in two)))
    assert told["score"] == wanted.score < 0.5
    assert told["compared"] == [str(each) for each in two]
    assert [face["processed"] for face in told["face_detects"]] == [True, True]


def test_whatever_is_compared_the_score_is_the_same(run: Run, two: tuple[Path, Path]) -> None:
    line = run("embed", two[0]).stdout
    text = line.split()[0]
    Path("line").write_text(line)
    Path("bytes").write_bytes(base64.b64decode(text))
    scores = {
        json.loads(run("compare", first, two[1], "--json", stdin=stdin).stdout)["score"]
        for first, stdin in (
            (two[0], None),
            (text, None),
            ("line", None),
            ("bytes", None),
            ("-", line.encode()),
            ("-", two[0].read_bytes()),
        )
    }
    assert len({round(score, 6) for score in scores}) == 1
    assert run("compare", "line", "bytes").stdout == "score 1.0000: at or above the operating point, 0.5\n"


@pytest.mark.parametrize(
    ("first", "threshold", "status", "told"),
    [
        ("a.jpg", None, 0, "at or above the operating point, 0.5"),
        ("a.jpg", 0.9, 0, "at or above the threshold, 0.9"),
        ("more/a.jpg", None, 0, "below the operating point, 0.5"),
        ("more/a.jpg", 0.5, 1, "below the threshold, 0.5"),
        ("b.PNG", None, 0, "score 0.0000: for a likeness it takes two faces"),
        ("b.PNG", 0, 1, "b.PNG: no face"),
    ],
)
def test_the_threshold_decides_the_exit_code(  # noqa: PLR0917  pytest names them
    run: Run, photos: Path, first: str, threshold: float | None, status: int, told: str
) -> None:
    options = () if threshold is None else ("--threshold", threshold)
    result = run("compare", photos / first, photos / "a.jpg", *options)
    assert result.exit_code == status
    assert told in result.stdout
    reached = json.loads(run("compare", photos / first, photos / "a.jpg", *options, "--json").stdout).get("reached")
    assert reached == (None if threshold is None else status == 0)


def test_a_face_that_is_missing_beside_a_feature_is_below(run: Run, photos: Path) -> None:
    Path("feature").write_text(run("embed", photos / "a.jpg").stdout)
    result = run("compare", "feature", photos / "b.PNG", "--threshold", 0)
    assert result.exit_code == 1
    assert f"{photos}/b.PNG: no face" in result.stdout


def changed(feature: bytes, place: int) -> str:
    return base64.b64encode(feature[:place] + bytes([feature[place] ^ 1]) + feature[place + 1 :]).decode()


def test_trouble_is_2_and_names_what_it_is_about(run: Run, photos: Path) -> None:
    good = photos / "a.jpg"
    text = run("embed", good).stdout.split()[0]
    damaged = changed(base64.b64decode(text), 40)
    Path("damaged").write_text(damaged)
    for first, stdin, told in (
        ("nothing.jpg", None, "nothing.jpg: No such file"),
        (photos / "broken.jpg", None, "broken.jpg: "),
        (photos, None, "Is a directory"),
        (damaged, None, "A: The feature is damaged"),
        ("damaged", None, "damaged: The feature is damaged"),
        (text[:-3], None, "A: the feature is damaged: it is not base64"),
        ("-", b"", "-: The image is empty"),
    ):
        result = run("compare", first, good, stdin=stdin)
        assert (result.exit_code, result.stdout) == (2, "")
        assert told in result.stderr
        assert text[60:90] not in result.stderr
    assert run("compare", "-", "-").exit_code == 2
    assert run("compare", good).exit_code == 2
    assert run("compare", good, good, "--threshold", "1.5").exit_code == 2


def test_a_file_of_many_features_is_none_to_compare(run: Run, photos: Path) -> None:
    Path("features").write_text(2 * run("embed", photos / "a.jpg").stdout)
    result = run("compare", "features", photos / "a.jpg", "--threshold", 0)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: features: it holds more than one feature")


def test_features_of_different_embedders_are_refused(run: Run, photos: Path) -> None:
    feature = base64.b64decode(run("embed", photos / "a.jpg").stdout.split()[0])
    other = feature[:8] + bytes(16) + feature[24:-4]
    other += zlib.crc32(other).to_bytes(4, "little")
    result = run("compare", base64.b64encode(feature).decode(), base64.b64encode(other).decode())
    assert result.exit_code == 2
    assert "Features of different embedders can't be compared" in result.stderr


def test_a_model_that_is_not_there_is_trouble(
    store_folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert store_folder.exists()
    monkeypatch.setattr(home.service_settings, "__defaults__", (tmp_path,))
    result = CliRunner().invoke(main, ["compare", *[str(photos / "a.jpg")] * 2, "--threshold", "0.5"])
    assert result.exit_code == 2
    assert result.stderr.endswith("Run: facebento models pull centerface\n")
