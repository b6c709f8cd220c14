"""The pictures that are sent, and the work that the service is held against."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from bench.speed.ceiling import Ceiling
from bench.speed.pictures import body, crowd, one_face, square
from bench.speed.work import Prepared, Work
from models import store

FACE = (180, 62, 271, 178)  # as CenterFace finds it in the photograph of 512 x 512; left, top, right, bottom


@pytest.fixture(scope="module")
def prepared() -> tuple[Prepared, Prepared]:
    detector, embedder = (
        (model.description, model.read()) for model in map(store.find, ("centerface", "dlib-resnet-v1"))
    )
    return detector, embedder


@pytest.fixture(scope="module")
def work(prepared: tuple[Prepared, Prepared]) -> Work:
    return Work(*prepared)


def test_the_picture_is_as_the_job_says() -> None:
    picture = one_face()
    with Image.open(io.BytesIO(picture)) as image:
        assert (image.format, image.size) == ("JPEG", (640, 640))
    assert 45_000 < len(picture) < 55_000
    assert json.loads(body(picture, maxResults=3)).keys() == {"image", "maxResults"}


def test_its_one_face_is_found_and_embedded(work: Work) -> None:
    [face] = work.detect(one_face())
    expected = np.array(FACE) * 640 / 512
    assert np.abs(expected - (face.left, face.top, face.right, face.bottom)).max() < 8
    found = work.embeddings(one_face())
    assert found is not None
    assert np.linalg.norm(found[1]) == pytest.approx(1, abs=1e-5)


def test_a_large_picture_is_cut_from_what_shows_enough(work: Work) -> None:
    small, large = work.embeddings(square(640)), work.embeddings(square(2560))
    assert small is not None
    assert large is not None
    assert float(small[1] @ large[1]) > 0.99


def test_no_face_is_no_embedding(work: Work) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "JPEG")
    assert work.embeddings(file.getvalue()) is None


@pytest.mark.parametrize("faces", [1, 8, 64])
def test_every_face_of_a_crowd_is_found(faces: int, work: Work) -> None:
    assert len(work.detect(crowd(faces))) == faces


def test_models_of_the_wrong_role_are_refused(prepared: tuple[Prepared, Prepared]) -> None:
    with pytest.raises(TypeError, match="must be a detector"):
        Work(*reversed(prepared))


def test_the_ceiling_runs_in_processes_of_its_own(prepared: tuple[Prepared, Prepared]) -> None:
    with Ceiling(*prepared, processes=1) as ceiling:
        loop = ceiling.run("look", one_face(), 0.05)
        assert loop.rate > 0
        assert 0 < loop.ms(50) <= loop.ms(100)
        [process] = ceiling.processes
        process.kill()
        process.join()
        with pytest.raises(RuntimeError, match="has ended"):
            ceiling.run("look", one_face(), 0.05)
    assert not process.is_alive()
