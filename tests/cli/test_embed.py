"""`facebento embed`: real models, and the answers of the pipeline that the service has."""

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from numpy.typing import NDArray
from PIL import Image

from evaluation.run import Photo
from pipeline import Pipeline

Run = Callable[..., Result]


def largest(opened: Pipeline, photo: Path) -> NDArray[np.float32]:
    found = asyncio.run(opened.embed_largest(Photo(photo, photo.read_bytes())))
    assert found is not None
    return found[1]


def test_a_line_for_each_face_with_its_feature_and_file(run: Run, photos: Path, opened: Pipeline) -> None:
    result = run("embed", photos)
    assert result.exit_code == 1
    (feature, name), (_, other) = (line.split("  ") for line in result.stdout.splitlines())
    assert (name, other) == (f"{photos}/a.jpg", f"{photos}/more/a.jpg")
    assert base64.b64decode(feature) == opened.feature(largest(opened, photos / "a.jpg"))
    no_face, broken = result.stderr.splitlines()
    assert no_face == f"{photos}/b.PNG: no face"
    assert broken.startswith(f"Error: {photos}/broken.jpg: ")


def test_json_tells_the_face_with_its_numbers(run: Run, photos: Path, opened: Pipeline) -> None:
    result = run("embed", photos / "a.jpg", photos / "b.PNG", "--json", "--embedding")
    assert result.exit_code == 0, result.output
    told, nobody = map(json.loads, result.stdout.splitlines())
    assert told["embedder"] == "dlib-resnet-v1"
    [face] = told["faces"]
    assert face["embeddings"] == largest(opened, photos / "a.jpg").tolist()
    assert face["face_detect"]["processed"] is True
    assert nobody["faces"] == []


def test_numbers_as_text(run: Run, photos: Path, opened: Pipeline) -> None:
    numbers, _ = run("embed", photos / "a.jpg", "--embedding").stdout.split("  ")
    assert np.array_equal(np.array(numbers.split(","), np.float32), largest(opened, photos / "a.jpg"))


def test_all_faces_by_confidence(run: Run, astronaut: NDArray[np.uint8], grace_hopper: NDArray[np.uint8]) -> None:
    Image.fromarray(np.hstack([astronaut, grace_hopper[:512]])).save("both.bmp")
    for options, count in (((), 1), (("--all",), 2), (("--all", "--max-results", 1), 1)):
        faces = json.loads(run("embed", "both.bmp", "--json", *options).stdout)["faces"]
        assert len(faces) == count
        confidences = [face["face_detect"]["confidence"] for face in faces]
        assert confidences == sorted(confidences, reverse=True)


def test_an_aligned_face(run: Run, astronaut: NDArray[np.uint8], photos: Path) -> None:
    Image.fromarray(astronaut[60:172, 170:282]).save("crop.png")
    [face] = json.loads(run("embed", "--aligned", "crop.png", "--json").stdout)["faces"]
    assert face["feature"].startswith("RkJGV")
    assert face["face_detect"]["processed"] is False
    result = run("embed", "--aligned", photos / "a.jpg")
    assert result.exit_code == 1
    assert "112 x 112 pixels. Leave out --aligned" in result.stderr
    assert "endpoint" not in result.stderr


@pytest.mark.parametrize("arguments", [(), ("--all", "--aligned", "x.jpg"), ("--max-results", "3", "x.jpg")])
def test_wrong_use(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("embed", *arguments).exit_code == 2
