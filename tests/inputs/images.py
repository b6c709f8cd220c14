"""The rows on pictures: files that can't be taken, every way to store one, and what is in the picture."""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np
import pytest

from tests.e2e.running import black_png
from tests.inputs import pictures
from tests.inputs.table import IMAGE_FIELDS, Given, Row, no_face, sent

Pixels = pictures.Pixels
UPLOAD = "/v1/file/detect"
DETECT = ("/v1/detect", UPLOAD)
# Where what is in the picture matters: all faces, one face, several, two pictures.
TILES_ALONE = {"1,000 faces"}  # show their faces
SCENES = (UPLOAD, "/v1/embeddings", "/v1/multi-embeddings", "/v1/file/score")


def images(photo: Pixels) -> Iterator[Row]:
    """photo: uint8 [height, width, 3], RGB, with one face."""
    yield from _refused(photo)
    yield from _wrong_sizes()
    for name, (file, plain) in pictures.twins(photo).items():
        yield Row("image", name, UPLOAD, {"files": {"image": file}}, 200, holds=partial(_as_plain, plain=plain))
    for fmt in ("PNG", "JPEG", "WEBP", "BMP"):
        dot = pictures.encoded(np.zeros((1, 1, 3), np.uint8), fmt)
        yield Row("image", f"1 x 1 {fmt}", UPLOAD, {"files": {"image": dot}}, 200, holds=no_face)


def _refused(photo: Pixels) -> Iterator[Row]:
    refused = {
        **{name: (file, "image_corrupt") for name, file in pictures.damaged(photo).items()},
        **{name: (file, "image_unsupported_format") for name, file in pictures.foreign().items()},
        "50,000 x 50,000": (pictures.png(50_000, 50_000, 8, 2, b""), "image_too_many_pixels"),
        "13,000 x 13,000 in some kB": (black_png(13_000, 13_000), "image_too_many_pixels"),
        "2 gigapixels in a bmp": (pictures.bmp(2**31 - 1, 1, b"\0" * 100), "image_too_many_pixels"),
        "1 x 10,000": (pictures.encoded(np.zeros((10_000, 1, 3), np.uint8)), "image_too_narrow"),
        "10,000 x 1": (pictures.encoded(np.zeros((1, 10_000, 3), np.uint8)), "image_too_narrow"),
        "40,000 x 700": (black_png(40_000, 700), "image_side_too_long"),
        "half a JPEG of 112 x 112": (_half(pictures.encoded(cv2.resize(photo, (112, 112)), "JPEG")), "image_corrupt"),
    }
    everywhere = ("empty", "half a JPEG of 112 x 112", "gif", "13,000 x 13,000 in some kB")
    for path, fields in IMAGE_FIELDS.items():
        for at in fields:
            for name in refused if path in DETECT else everywhere:
                yield _refused_row(name, path, at, *refused[name])


def _half(file: bytes) -> bytes:
    return file[: len(file) // 2]


def _wrong_sizes() -> Iterator[Row]:
    for width, height in ((111, 112), (112, 113), (1, 1), (512, 512)):
        file = pictures.encoded(np.zeros((height, width, 3), np.uint8))
        for path in IMAGE_FIELDS:
            if path.endswith("-only"):
                yield _refused_row(f"{width} x {height}", path, "image", file, "image_wrong_size")


def _refused_row(name: str, path: str, at: str, file: bytes, kind: str) -> Row:
    dot = black_png(8, 8)
    values = {each: file if each == at else dot for each in IMAGE_FIELDS[path]}
    return Row("image", f"{name} in {at}", path, sent(path, values), place=("body", at), kind=kind)


def _as_plain(answer: Any, given: Given, plain: bytes) -> bool:
    """The one face of both pictures: box and points within 3 pixels, which is what JPEG's losses move them."""
    pair = [answer["faces"], given.answered(plain)]
    if [len(faces) for faces in pair] != [1, 1]:
        return False
    one, other = (
        np.array([*face["boundingBox"].values(), *(value for point in face["landmarks"] for value in point.values())])
        for [face] in pair
    )
    return bool(np.abs(one - other).max() <= 3)


def contents(photo: Pixels, nobody: Pixels, face: tuple[int, int, int, int]) -> Iterator[Row]:
    """photo: uint8 [height, width, 3], RGB, with one face, at left, top, right, bottom; nobody: without."""
    left, top, right, bottom = face
    height, width = photo.shape[:2]
    tile = cv2.resize(photo[top - 20 : bottom + 20, left - 20 : right + 20], (60, 60), interpolation=cv2.INTER_AREA)
    ten = 10 / (right - left)
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8)
    scenes = {
        "no face": (nobody, 0, 0),
        "half a face at the border": (photo[:, (left + right) // 2 :], 0, 1),
        "half a face at the lower border": (photo[: (top + bottom) // 2], 0, 1),
        "a face that fills the frame": (photo[top:bottom, left:right], 0, 1),
        "a face larger than the frame": (photo[top + 20 : bottom - 20, left + 20 : right - 20], 0, 1),
        "a face of 10 pixels": (cv2.resize(photo, (round(width * ten), round(height * ten))), 0, 1),
        "upside down": (photo[::-1, ::-1], 0, 1),
        "100 faces": (np.tile(tile, (10, 10, 1)), 95, 100),
        # On the canvas of the whole picture each has 10 pixels: they are found in tiles, where all are asked for.
        "1,000 faces": (np.tile(cv2.resize(tile, (45, 45), interpolation=cv2.INTER_AREA), (25, 40, 1)), 950, 1000),
        "noise": (noise, 0, 0),
        "all black": (np.zeros((300, 400, 3), np.uint8), 0, 0),
        "all white": (np.full((300, 400, 3), 255, np.uint8), 0, 0),
    }
    for name, (pixels, least, most) in scenes.items():
        shape = pixels.shape[:2]
        file = pictures.encoded(np.ascontiguousarray(pixels))
        for path in SCENES:
            values = dict.fromkeys(IMAGE_FIELDS[path], file)
            one = path in {"/v1/embeddings", "/v1/file/score"}
            holds = partial(_sane, shape=shape, least=0 if one and name in TILES_ALONE else least, most=most)
            yield Row("content", name, path, sent(path, values), 200, holds=holds)


def _sane(answer: Any, _: Given, shape: tuple[int, int], least: int, most: int) -> bool:
    """Whether there are as many faces as there may be, each in the picture and each vector a unit vector.

    least, most: faces in the picture; an endpoint answers no more than its own limit of them.
    """
    match answer:
        case {"faces": faces}:
            limit = 750
        case {"embeddings_info_list": infos}:
            limit, faces = 128, [info["face_detect"] for info in infos]
        case {"face_detects": [face, other], "score": score}:
            limit, faces = 1, [face]
            if face != other or score != pytest.approx(1 if face["processed"] else 0, abs=1e-3):
                return False
        case {"face_detect": face}:
            limit, faces = 1, [face]
        case _:
            return False
    found = [face for face in faces if face["processed"]]
    vectors = [info["embeddings"] for info in answer.get("embeddings_info_list", [answer]) if "embeddings" in info]
    norms = [math.hypot(*vector) for vector in vectors if vector]
    return (
        min(least, limit) <= len(found) <= min(most, limit)
        and all(_inside(face, shape) for face in found)
        and norms == pytest.approx([1] * (len(found) if vectors else 0), abs=1e-3)
    )


def _inside(face: Any, shape: tuple[int, int]) -> bool:
    box, (height, width) = face["boundingBox"], shape
    return (
        0 < face["confidence"] <= 1
        and 0 <= box["left"] < box["right"] <= width
        and 0 <= box["top"] < box["bottom"] <= height
        and len(face["landmarks"]) == 5
        and all(isinstance(value, int) for point in face["landmarks"] for value in point.values())
    )
