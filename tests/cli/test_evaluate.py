"""`facebento models evaluate`: with a pipeline whose answers are in the pictures, and with the real one."""

import asyncio
import csv
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

from cli.evaluate import LOWEST_CONFIDENCE, WITHOUT_EFFECT
from cli.main import main
from cli.options import MOST_FACES
from evaluation import run
from faces.detection import Face, Order
from faces.errors import ImageCorruptError
from models import store
from models.catalog import describe
from runners.errors import RunnerUnavailableError

# What is in each picture: the cosine of its embedding to that of `me`.
PICTURES = {"me": "1", "me2": "0.97", "me3": "0.95", "you": "0.9", "they": "0.3", "cat": "none", "text": "broken"}
PAIRS = "image1,image2,same\nme,me2,1\nme,me3,1\nme,you,0\nme,they,0\n"


class Answers:
    """In place of the pipeline. `end` is raised in place of the answer to the question after `limit` others."""

    limit: int | None = None
    end: BaseException = KeyboardInterrupt()

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.told_from: list[float] = []
        self.orders: list[tuple[Order, int]] = []

    def __call__(self, _: Any, detector: Any, embedder: Any, *, told_from: float) -> "Answers":
        assert detector == (describe("centerface"), b"detector")
        assert embedder in {None, (describe("dlib-resnet-v1"), b"embedder")}
        self.told_from.append(told_from)
        return self

    def _read(self, photo: Any) -> str:
        content: str = photo.read().decode()
        if len(self.asked) == self.limit:
            raise self.end
        self.asked.append(content)
        if content == "broken":
            raise ImageCorruptError("It can't be decoded.")
        return content

    async def embed_largest(self, photo: Any) -> tuple[None, NDArray[np.float32]] | None:
        content = self._read(photo)
        if content == "none":
            return None
        return None, np.array([float(content), math.sqrt(1 - float(content) ** 2)], np.float32)

    async def detect(self, photo: Any, order: Order, limit: int) -> list[Face]:
        self.orders.append((order, limit))
        confidences = [float(self._read(photo)), 0.02]
        return [Face(0, 0, 40, 40, each, np.zeros((5, 2), np.float32)) for each in confidences]


@pytest.fixture
def answers(store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    """With pictures in `pictures`, of the working folder."""
    assert store_folder.exists()
    store.save(describe("centerface"), b"detector")
    store.save(describe("dlib-resnet-v1"), b"embedder")
    (tmp_path / "pictures").mkdir()
    for name, content in PICTURES.items():
        (tmp_path / "pictures" / name).write_text(content)
    (tmp_path / "pictures" / "pairs.csv").write_text(PAIRS)
    monkeypatch.chdir(tmp_path)
    made = Answers()
    monkeypatch.setattr("cli.local.local_pipeline", made)
    yield made
    asyncio.set_event_loop(None)


def evaluate(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["models", "evaluate", *arguments])


def pairs(*arguments: str) -> Result:
    return evaluate("--pairs", "pictures/pairs.csv", *arguments)


def written(out: str = "build/evaluation") -> list[str]:
    return sorted(path.name for path in Path(out).iterdir())


@pytest.mark.usefixtures("answers")
def test_pairs_are_measured() -> None:
    result = pairs()
    assert result.exit_code == 0, result.output
    assert "It holds embeddings, which are biometric data." in result.stderr
    assert "every pair" in result.stdout
    assert result.stdout.splitlines()[-1] == "written: build/evaluation/evaluation.json, build/evaluation/roc.png"
    told = json.loads(Path("build/evaluation/evaluation.json").read_text())
    assert told["cosines"] == {"same": [0.95, 0.97], "different": [0.3, 0.9]}
    assert (told["data"], told["pictures"], told["failed"]) == ("pairs", 5, {})
    assert told["embedder"] == describe("dlib-resnet-v1").tag
    assert told["fingerprint"] == describe("dlib-resnet-v1").fingerprint
    assert told["every_pair"]["served"]["accuracy"] == 1
    with Image.open("build/evaluation/roc.png") as image:
        assert image.format == "PNG"


@pytest.mark.usefixtures("answers")
def test_embeddings_go_once_all_is_done_unless_they_are_kept() -> None:
    pairs()
    assert written() == ["evaluation.json", "roc.png"]
    pairs("--keep", "--out", "kept")
    assert written("kept") == ["evaluation.json", "pairs.answers.jsonl", "roc.png"]
    assert (Path("kept/pairs.answers.jsonl").stat().st_mode & 0o777) == 0o600


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit(143), RunnerUnavailableError("It is gone.")])
def test_an_interrupted_run_goes_on_where_it_was(
    answers: Answers, monkeypatch: pytest.MonkeyPatch, end: BaseException
) -> None:
    monkeypatch.setenv("FACEBENTO_THREADS", "1")
    answers.limit, answers.end = 3, end
    result = pairs()
    assert result.exit_code in {1, 130, 143}
    assert "goes on where it was" in result.stderr
    assert written() == ["pairs.answers.jsonl"]
    first, answers.asked, answers.limit = answers.asked, [], None
    assert pairs().exit_code == 0
    assert len(first) == 3
    assert len(answers.asked) == 2
    assert sorted([*first, *answers.asked]) == ["0.3", "0.9", "0.95", "0.97", "1"]
    assert written() == ["evaluation.json", "roc.png"]


def test_a_picture_that_the_models_fail_at_is_named(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEBENTO_THREADS", "1")
    answers.limit, answers.end = 3, RunnerUnavailableError("No numbers.")
    told = pairs().stderr.splitlines()[-1]
    assert told.startswith("Error: pictures/you: No numbers. The same command goes on where it was.")


@pytest.mark.usefixtures("answers")
@pytest.mark.parametrize(("threads", "decode_threads"), [("5", "2"), ("2", "8"), ("3", "4")])
def test_no_more_pictures_are_in_work_than_can_be_searched_and_run(
    monkeypatch: pytest.MonkeyPatch, threads: str, decode_threads: str
) -> None:
    monkeypatch.setenv("FACEBENTO_THREADS", threads)
    monkeypatch.setenv("FACEBENTO_DECODE_THREADS", decode_threads)
    given, every = [], run.answers

    def watched(*arguments: Any, at_once: int, **options: Any) -> Any:
        given.append(at_once)
        return every(*arguments, at_once=at_once, **options)

    monkeypatch.setattr("evaluation.run.answers", watched)
    assert pairs().exit_code == 0
    assert given == [2]


def test_a_closed_pipe_is_not_taken_for_a_folder_that_can_not_be_written(answers: Answers) -> None:
    answers.limit, answers.end = 0, BrokenPipeError(32, "Broken pipe")
    result = pairs()
    assert result.exit_code == 1
    assert "Error" not in result.stderr


def test_nothing_is_taken_over_from_other_settings_or_models(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs("--keep")
    monkeypatch.setenv("FACEBENTO_MAX_IN_FLIGHT", "7")  # changes no answer
    pairs("--keep")
    assert len(answers.asked) == 5
    monkeypatch.setenv("FACEBENTO_MAX_PIXELS", "20000")
    pairs("--keep")
    assert len(answers.asked) == 10
    monkeypatch.setattr("api.__version__", "99")
    pairs("--keep")
    assert len(answers.asked) == 15


def test_settings_that_are_said_to_change_nothing_are_settings() -> None:
    from api.settings import Settings  # noqa: PLC0415

    assert Settings.model_fields.keys() >= WITHOUT_EFFECT


@pytest.mark.usefixtures("answers")
def test_pictures_without_an_answer_are_counted_and_named() -> None:
    Path("pictures/pairs.csv").write_text(f"{PAIRS}me,cat,1\ntext,you,0\n")
    result = pairs()
    assert "2 of 7 pictures have no answer; build/evaluation/evaluation.json names them" in result.stdout
    told = json.loads(Path("build/evaluation/evaluation.json").read_text())
    assert told["failed"] == {"text": "It can't be decoded.", "cat": "no face was found"}
    assert (told["every_pair"]["same"], told["answered"]["same"]) == (3, 2)
    assert told["every_pair"]["served"]["tar"] == pytest.approx(2 / 3)
    assert told["answered"]["served"]["tar"] == 1


@pytest.mark.usefixtures("answers")
def test_an_old_roc_goes_where_there_is_no_new_one() -> None:
    pairs()
    Path("pictures/pairs.csv").write_text("image1,image2,same\nme,cat,1\nme,you,0\n")
    assert pairs().stdout.splitlines()[-1] == "written: build/evaluation/evaluation.json"
    assert written() == ["evaluation.json"]


@pytest.mark.usefixtures("answers")
def test_the_pictures_and_the_name_can_be_told() -> None:
    Path("mine.csv").write_text(PAIRS)
    assert evaluate("--pairs", "mine.csv").stderr.startswith(
        "Error: 5 of the 5 pictures that mine.csv names are not in"
    )
    assert evaluate("--pairs", "mine.csv", "--images", "pictures", "--name", "ours").exit_code == 0
    assert json.loads(Path("build/evaluation/evaluation.json").read_text())["data"] == "ours"


def test_boxes_are_measured_with_weak_ones_among_them(answers: Answers) -> None:
    Path("pictures/me").write_text("0.9")
    Path("pictures/boxes.txt").write_text("me\n1\n0 0 40 40\nthey\n1\n200 0 40 40\n")
    result = evaluate("--boxes", "pictures/boxes.txt", "--keep")
    assert result.exit_code == 0, result.output
    assert "It holds boxes, no embeddings." in result.stderr
    assert answers.told_from == [LOWEST_CONFIDENCE]
    assert answers.orders == [(Order.CONFIDENCE, MOST_FACES)] * 2
    told = json.loads(Path("build/evaluation/detection.json").read_text())
    # .9 finds a face; .3 and both of .02 find none: one of two at a precision of one.
    assert told["sizes"]["all"]["average_precision"] == 0.5
    # The served threshold leaves .9 alone.
    assert (told["score_threshold"], told["sizes"]["all"]["precision"], told["sizes"]["all"]["recall"]) == (0.5, 1, 0.5)
    assert written() == ["boxes.answers.jsonl", "detection.json", "precision-recall.png"]


@pytest.mark.usefixtures("answers")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "give either --pairs or --boxes"),
        (("--pairs", "pictures/pairs.csv", "--boxes", "pictures/pairs.csv"), "give either --pairs or --boxes"),
        (("--pairs", "none.csv"), "'none.csv' does not exist"),
        (("--boxes", "pictures/me"), "pictures/me, line 2: expected the number of faces of 1"),
        (("--pairs", "pictures/pairs.csv", "--embedder", "centerface"), "centerface is no embedder"),
        (("--pairs", "pictures/pairs.csv", "--detector", "dlib-resnet-v1"), "dlib-resnet-v1 is no detector"),
        (("--pairs", "pictures/pairs.csv", "--embedder", "nobody"), "no model is called 'nobody'"),
        (("--pairs", "pictures/pairs.csv", "--out", "pictures/me/out"), "can't write to pictures/me/out: Not a dir"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(arguments: tuple[str, ...], told: str) -> None:
    result = evaluate(*arguments)
    assert result.exit_code in {1, 2}
    assert told in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.output


def test_without_matplotlib_nothing_is_begun(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "evaluation.drawing", raising=False)
    monkeypatch.delattr("evaluation.drawing", raising=False)
    monkeypatch.delitem(sys.modules, "matplotlib.figure", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = pairs()
    assert result.exit_code == 1
    assert "pip install -r requirements/pull.txt" in result.stderr
    assert answers.asked == []


def variants(picture: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    dark = (picture * 0.6).astype(np.uint8)
    return [picture, np.ascontiguousarray(picture[:, ::-1]), dark, picture[20:500, 30:480]]


@pytest.fixture
def photographs(
    tmp_path: Path, astronaut: NDArray[np.uint8], grace_hopper: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> Path:
    for name, picture in (("collins", astronaut), ("hopper", grace_hopper)):
        for number, variant in enumerate(variants(picture)):
            Image.fromarray(variant).save(tmp_path / f"{name}{number}.jpg", quality=90)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACEBENTO_DEVICE", "cpu")
    return tmp_path


def test_real_models_tell_two_people_apart(photographs: Path) -> None:
    ones, others = ([f"{name}{number}.jpg" for number in range(4)] for name in ("collins", "hopper"))
    rows = [(name[a], name[b], 1) for name in (ones, others) for a in range(4) for b in range(a)]
    rows += [(one, other, 0) for one in ones for other in others]
    with (photographs / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image1", "image2", "same"), *rows])
    result = evaluate("--pairs", "pairs.csv")
    assert result.exit_code == 0, result.output
    told = json.loads(Path("build/evaluation/evaluation.json").read_text())
    every = told["every_pair"]
    assert (every["same"], every["different"], told["failed"]) == (12, 16, {})
    assert (every["equal_error"]["rate"], every["area_under_roc"], every["accuracy"]["mean"]) == (0, 1, 1)
    assert every["at_far"][0]["threshold"]["tar"] == 1
    assert every["at_far"][1]["threshold"] is None
    assert every["served"]["accuracy"] == 1


def test_real_models_find_the_faces(photographs: Path) -> None:
    # Collins, the same mirrored, and Hopper with a box where she has no face.
    boxes = [
        ("collins0.jpg", 180, 62, 91, 117),
        ("collins1.jpg", 512 - 180 - 91, 62, 91, 117),
        ("hopper0.jpg", 5, 5, 90, 90),
    ]
    text = "".join(f"{name}\n1\n{x} {y} {w} {h} 0 0 0 0 0 0\n" for name, x, y, w, h in boxes)
    (photographs / "boxes.txt").write_text(text)
    result = evaluate("--boxes", "boxes.txt")
    assert result.exit_code == 0, result.output
    every = json.loads(Path("build/evaluation/detection.json").read_text())["sizes"]["all"]
    assert (every["faces"], every["recall"], every["precision"]) == pytest.approx((3, 2 / 3, 2 / 3))
    assert 0.3 < every["average_precision"] <= 2 / 3
