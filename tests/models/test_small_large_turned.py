"""What the starter detector finds with all the ways of looking: tiny faces, faces that fill the frame, turned ones."""

import asyncio
import functools
import io
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from api.settings import Settings
from bench.group_photo import Box, Person, group_photo, people
from cli.local import local_pipeline
from faces.detection import Face, Order
from faces.feature import cosine_similarity
from models import store
from pipeline import Pipeline

Pixels = NDArray[np.uint8]


@dataclass
class Upload:
    content: bytes
    field: str = "image"

    def read(self) -> bytes:
        return self.content


def upload(pixels: Pixels, fmt: Literal["PNG", "JPEG"] = "PNG", orientation: int = 0) -> Upload:
    exif = Image.Exif()
    if orientation:
        exif[ExifTags.Base.Orientation] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, fmt, exif=exif, **({"quality": 95} if fmt == "JPEG" else {"compress_level": 1}))
    return Upload(file.getvalue())


@functools.cache
def pipeline(small_faces: Literal["auto", "never"] = "never", *, rotations: bool = False) -> Pipeline:
    (detector, graph), embedder = (
        (model.description, model.read()) for model in map(store.find, ("centerface", "dlib-resnet-v1"))
    )
    configured = Settings(device="cpu", small_faces=small_faces, max_tiles=200, rotations=rotations)
    return local_pipeline(configured, (detector, graph), embedder)


def found(small_faces: Literal["auto", "never"], picture: Upload, limit: int = 750) -> list[Face]:
    return asyncio.run(pipeline(small_faces).detect(picture, Order.CONFIDENCE, limit))


def overlap(face: Face, box: Box) -> float:
    return Box(face.left, face.top, face.right, face.bottom).overlap(box)


def test_faces_of_twelve_pixels_in_a_picture_of_four_thousand(cat: Pixels) -> None:
    background = cv2.resize(cat, (4000, 500), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    sizes = [12, 12, 14, 12, 16, 12, 24, 12, 60, 12]
    picture, boxes = group_photo(background, sizes)
    photo = upload(picture, "JPEG")
    assert found("never", photo) == []
    faces = found("auto", photo)
    missed = [sizes[i] for i, box in enumerate(boxes) if max((overlap(face, box) for face in faces), default=0) < 0.4]
    # Of those of 12 pixels one or another is missed: docs/accuracy.md.
    assert missed in ([], [12])
    assert len(faces) == len(boxes) - len(missed)
    for face in faces:
        left_eye, right_eye, nose, left_mouth, _ = face.landmarks
        assert left_eye[0] < right_eye[0]
        assert left_eye[1] < nose[1] < left_mouth[1]


@pytest.mark.parametrize("share", [0.65, 0.7, 0.8])
@pytest.mark.parametrize("person", people())
def test_a_face_that_is_larger_than_the_frame(person: Person, share: float) -> None:
    """No outline, no hair: only so much of the box as the share says, across and down."""
    left, top, right, bottom = person.face
    x, y, across, down = (left + right) / 2, (top + bottom) / 2, (right - left) * share, (bottom - top) * share
    part = person.pixels[int(y - down / 2) : int(y + down / 2), int(x - across / 2) : int(x + across / 2)]
    large = cv2.resize(part, None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    [face] = found("never", upload(large))
    height, width = large.shape[:2]
    # Where the outline lies outside, its box is a guess, and may leave out a chin.
    assert overlap(face, Box(0, 0, width, height)) > 0.45
    assert (face.landmarks > 0).all()
    assert (face.landmarks < (width, height)).all()


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("person", ["astronaut", "grace_hopper"])
def test_a_turned_photograph_gives_the_same_face(request: pytest.FixtureRequest, person: str, turns: int) -> None:
    upright = request.getfixturevalue(person)
    turning = pipeline(rotations=True)
    expected = asyncio.run(turning.embed_largest(upload(upright)))
    answer = asyncio.run(turning.embed_largest(upload(np.ascontiguousarray(np.rot90(upright, turns)))))
    assert expected is not None
    assert answer is not None
    side = upright.shape[0] if turns == 3 else upright.shape[1]
    eye = expected[0].landmarks[0]
    x, y = {1: (eye[1], side - eye[0]), 2: (side - eye[0], upright.shape[0] - eye[1]), 3: (side - eye[1], eye[0])}[
        turns
    ]
    np.testing.assert_allclose(answer[0].landmarks[0], (x, y), atol=3)
    assert cosine_similarity(answer[1], expected[1]) > 0.99


def test_people_who_lie_beside_people_who_stand(astronaut: Pixels, grace_hopper: Pixels) -> None:
    lying = np.rot90(astronaut, 1)
    both = np.concatenate([lying, grace_hopper[:512]], axis=1)
    one, two = (
        asyncio.run(pipeline(rotations=each).detect(upload(both), Order.LEFT_TO_RIGHT, 9)) for each in (False, True)
    )
    assert len(two) == 2
    eyes = [face.landmarks[1] - face.landmarks[0] for face in two]
    assert abs(eyes[0][1]) > 3 * abs(eyes[0][0])  # one above the other
    assert abs(eyes[1][0]) > 3 * abs(eyes[1][1])
    assert len(one) <= 2
