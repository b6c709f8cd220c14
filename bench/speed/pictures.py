"""What is sent: pictures made of the photograph in docs/images, which has one face."""

import base64
import io
import json
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.e2e.running import PROJECT, jpeg

Pixels = NDArray[np.uint8]  # [height, width, 3], RGB
SIDE = 640
BYTES = 50_000
CELL = (90, 10, 290, 250)  # of the photograph: the head with some space around it; left, top, right, bottom
CROWD_SIDE = 1280


def photo() -> Pixels:
    """512 x 512, one face of about 90 x 115 pixels."""
    with Image.open(io.BytesIO((PROJECT / "docs" / "images" / "astronaut.jpg").read_bytes())) as image:
        return np.asarray(image.convert("RGB"))


def scaled(side: int) -> Pixels:
    pixels = photo()
    interpolation = cv2.INTER_AREA if side < len(pixels) else cv2.INTER_CUBIC
    return cv2.resize(pixels, (side, side), interpolation=interpolation).astype(np.uint8, copy=False)


def one_face(side: int = SIDE, size: int = BYTES) -> bytes:
    """A JPEG of side x side pixels and, where its quality can bring it there, about so many bytes."""
    pixels = scaled(side)
    files = (jpeg(pixels, quality=quality) for quality in range(50, 97, 2))
    return min(files, key=lambda file: abs(len(file) - size))


def square(side: int) -> bytes:
    """A JPEG of that size of the photograph, as a camera would write it."""
    return jpeg(scaled(side), quality=90)


def crowd(faces: int) -> bytes:
    """A JPEG with so many times the same face, on a grid as fine as it has to be."""
    across = int(np.ceil(faces**0.5))
    left, top, right, bottom = CELL
    cell = CROWD_SIDE // across
    width = round(cell * (right - left) / (bottom - top))
    interpolation = cv2.INTER_AREA if cell < bottom - top else cv2.INTER_CUBIC
    head = cv2.resize(photo()[top:bottom, left:right], (width, cell), interpolation=interpolation)
    picture = np.full((CROWD_SIDE, CROWD_SIDE, 3), 127, np.uint8)
    for number in range(faces):
        row, column = divmod(number, across)
        picture[row * cell : (row + 1) * cell, column * cell : column * cell + width] = head
    return jpeg(picture, quality=90)


def body(image: bytes, **fields: Any) -> bytes:
    """A request's, as JSON."""
    return json.dumps({"image": base64.b64encode(image).decode(), **fields}).encode()
