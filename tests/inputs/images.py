"""The rows on pictures: files that can't be taken, files that look otherwise than they are, and what is in the picture."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import cv2
import numpy as np

from tests.inputs import pictures
from tests.inputs.table import IMAGE_FIELDS, Given, Row, sent

Pixels = pictures.Pixels
DETECT = ("/v1/detect", "/v1/file/detect")
# Where what is in the picture matters: all faces, one face, several, two pictures.
SCENES = ("/v1/file/detect", "/v1/embeddings", "/v1/multi-embeddings", "/v1/file/score")


def images(photo: Pixels) -> Iterator[Row]:
    """photo: uint8 [height, width, 3], RGB, with one face."""
    yield from _refused(photo)
    yield from _wrong_sizes()
    for name, (file, plain) in pictures.twins(photo).items():
        yield Row(
            "image",
            name,
            "/v1/file/detect",
            lambda _, file=file: {"files": {"image": file}},
            200,
            holds=lambda answer, given, plain=plain: _alike(answer["faces"], given.answered(plain)),
        )
    for fmt in ("PNG", "JPEG", "WEBP", "BMP"):
        dot = pictures.encoded(np.zeros((1, 1, 3), np.uint8), fmt)
        yield Row(
            "image",
            f"1 x 1 {fmt}",
            "/v1/file/detect",
            lambda _, dot=dot: {"files": {"image": dot}},
            200,
            holds=lambda answer, _: answer["faces"] == [],
        )


def _refused(photo: Pixels) -> Iterator[Row]:
    refused = {
        **{name: (file, "image_corrupt") for name, file in pictures.damaged(photo).items()},
        **{name: (file, "image_unsupported_format") for name, file in pictures.foreign().items()},
        "50,000 x 50,000": (pictures.png(50_000, 50_000, 8, 2, b""), "image_too_many_pixels"),
        "13,000 x 13,000 in some kB": (pictures.one_bit_png(13_000, 13_000), "image_too_many_pixels"),
        "2 gigapixels in a bmp": (pictures.bmp(2**31 - 1, 1, b"\0" * 100), "image_*"),
        "1 x 10,000": (pictures.encoded(np.zeros((10_000, 1, 3), np.uint8)), "image_*"),
        "10,000 x 1": (pictures.encoded(np.zeros((1, 10_000, 3), np.uint8)), "image_*"),
    }
    everywhere = ("empty", "half a JPEG", "gif", "13,000 x 13,000 in some kB")
    for path, fields in IMAGE_FIELDS.items():
        for at in fields:
            for name in refused if path in DETECT else everywhere:
                yield _refused_row(name, path, at, *refused[name])


def _wrong_sizes() -> Iterator[Row]:
    for width, height in ((111, 112), (112, 113), (1, 1), (512, 512)):
        file = pictures.encoded(np.zeros((height, width, 3), np.uint8))
        for path in IMAGE_FIELDS:
            if path.endswith("-only"):
                yield _refused_row(f"{width} x {height}", path, "image", file, "image_wrong_size")


def _refused_row(name: str, path: str, at: str, file: bytes, kind: str) -> Row:
    dot = pictures.one_bit_png(8, 8)
    values = {each: file if each == at else dot for each in IMAGE_FIELDS[path]}
    return Row("image", f"{name} in {at}", path, lambda _: sent(path, values), place=("body", at), kind=kind)


def _alike(found: list[Any], plain: list[Any]) -> bool:
    """The one face of both pictures: boxes and points within 3 pixels, which is what JPEG's losses move them."""
    if len(found) != 1 or len(plain) != 1:
        return False
    one, other = (
        [*face["boundingBox"].values(), *(value for point in face["landmarks"] for value in point.values())]
        for face in (found[0], plain[0])
    )
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= 3


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
        # On the detector's canvas each is of 10 pixels; how many of them it finds is up to it.
        "1,000 faces": (np.tile(tile, (25, 40, 1)), 0, 1000),
        "noise": (noise, 0, 0),
        "all black": (np.zeros((300, 400, 3), np.uint8), 0, 0),
        "all white": (np.full((300, 400, 3), 255, np.uint8), 0, 0),
    }
    for name, (pixels, least, most) in scenes.items():
        shape = pixels.shape[:2]
        file = pictures.encoded(np.ascontiguousarray(pixels), "PNG", compress_level=1)
        for path in SCENES:
            values = dict.fromkeys(IMAGE_FIELDS[path], file)
            yield Row(
                "content",
                name,
                path,
                lambda _, path=path, values=values: sent(path, values),
                200,
                holds=lambda answer, _, shape=shape, least=least, most=most: _sane(answer, shape, least, most),
            )


def _sane(answer: Mapping[str, Any], shape: tuple[int, int], least: int, most: int) -> bool:
    """Whether each face lies in the picture, each vector is one, and there are as many faces as there may be.

    Of the endpoints that answer one face: one, or none where there may be none.
    """
    infos = answer.get("feature_info_list") or answer.get("embeddings_info_list") or [answer]
    vectors = [info["embeddings"] for info in infos if info.get("embeddings")]
    if any(abs(math.hypot(*vector) - 1) > 1e-3 for vector in vectors):
        return False
    if "faces" in answer:
        faces = answer["faces"]
    elif "face_detects" in answer:
        faces = answer["face_detects"]
        if not (0 <= answer["score"] <= 1 and (answer["score"] > 0.9) == faces[0]["processed"]):
            return False
        faces = faces[:1]
    else:
        faces = [info["face_detect"] for info in infos if "face_detect" in info]
    found = [each for each in faces if each["processed"]]
    many = "faces" in answer or "feature_info_list" in answer or "embeddings_info_list" in answer
    limit = 750 if "faces" in answer else 128
    low, high = (min(least, limit), min(most, limit)) if many else (min(least, 1), min(most, 1))
    return low <= len(found) <= high and all(_inside(each, shape) for each in found)


def _inside(face: Any, shape: tuple[int, int]) -> bool:
    box, (height, width) = face["boundingBox"], shape
    return (
        0 < face["confidence"] <= 1
        and 0 <= box["left"] < box["right"] <= width
        and 0 <= box["top"] < box["bottom"] <= height
        and len(face["landmarks"]) == 5
        and all(isinstance(value, int) for point in face["landmarks"] for value in point.values())
    )
