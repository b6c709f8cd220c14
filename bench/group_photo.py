"""Group photographs whose every face is known: public-domain faces, scaled and laid softly over a background."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import matplotlib as mpl
import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]  # [height, width, 3], RGB


class Box(NamedTuple):
    """In pixels of its picture."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def side(self) -> float:
        """The longer one."""
        return max(self.right - self.left, self.bottom - self.top)

    def overlap(self, other: "Box") -> float:
        """Intersection over union."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        shared = max(0, across) * max(0, down)
        areas = sum((each.right - each.left) * (each.bottom - each.top) for each in (self, other))
        return shared / (areas - shared)


class Person(NamedTuple):
    pixels: Pixels
    face: Box  # as CenterFace finds it in the whole picture


def people() -> tuple[Person, Person]:
    """Eileen Collins and Grace Hopper."""
    with Image.open(Path(mpl.get_data_path(), "sample_data", "grace_hopper.jpg")) as image:
        hopper = np.asarray(image.convert("RGB"))
    collins = np.asarray(skimage.data.astronaut())  # type: ignore[no-untyped-call]
    return Person(collins, Box(180, 62, 271, 178)), Person(hopper, Box(173, 123, 356, 338))


def group_photo(background: Pixels, sizes: Sequence[float]) -> tuple[Pixels, list[Box]]:
    """A picture with as many faces as there are sizes (the longer side of the box, in pixels), and their boxes.

    They stand on a grid, in turns the one and the other of the two people. ValueError where the grid is too narrow.
    """
    picture = background.copy()
    height, width = picture.shape[:2]
    cell = int(3.2 * max(sizes))
    columns = int(np.ceil((len(sizes) * width / height) ** 0.5))
    rows = -(-len(sizes) // columns)
    if width // columns < cell or height // rows < cell:
        raise ValueError(f"{len(sizes)} faces of {max(sizes)} pixels don't fit into {width} x {height}")
    pair = people()
    boxes = []
    for number, size in enumerate(sizes):
        row, column = divmod(number, columns)
        # Not on whole steps, so that they lie at different places of tiles and of a detector's cells.
        shift = number * 37 % max(1, width // columns - cell + 1), number * 53 % max(1, height // rows - cell + 1)
        place = column * (width // columns) + shift[0], row * (height // rows) + shift[1]
        boxes.append(_lay(pair[number % 2], size, picture, place))
    return picture, boxes


def _lay(person: Person, size: float, picture: Pixels, place: tuple[int, int]) -> Box:
    face = person.face
    scale = size / face.side
    left, top = int(max(0, face.left - 0.8 * face.side)), int(max(0, face.top - 0.6 * face.side))
    part = person.pixels[top : int(face.bottom + face.side), left : int(face.right + 0.8 * face.side)]
    small = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = small.shape[:2]
    mask = np.zeros((height, width, 1), np.float32)
    cv2.ellipse(mask, (width // 2, height // 2), (int(width * 0.46), int(height * 0.46)), 0, 0, 360, (1,), -1)
    mask = cv2.GaussianBlur(mask, (0, 0), max(1, width * 0.05)).reshape(height, width, 1)
    x, y = place
    under = picture[y : y + height, x : x + width]
    under[:] = (mask * small + (1 - mask) * under).astype(np.uint8)
    return Box(
        *(at + (side - start) * scale for at, side, start in zip((x, y) * 2, face, (left, top) * 2, strict=True))
    )
