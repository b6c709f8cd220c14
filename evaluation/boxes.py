"""Lists of pictures with the faces that they show: WIDER FACE's ground truth."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import ListError
from evaluation.lists import check_there, read_text, whole_number


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """A picture and its faces.

    boxes: float64 [n, 4], left, top, right, bottom in pixels of the upright picture. ignored: bool [n], faces that are
    neither to be found nor to be held against whoever finds them.
    """

    picture: str  # its path from the folder of pictures on
    boxes: NDArray[np.float64]
    ignored: NDArray[np.bool_]


def read_boxes(file: Path, folder: Path) -> list[Labelled]:
    """The pictures of a list in the format of wider_face_val_bbx_gt.txt, in its order.

    For each picture a line with its path from `folder` on, a line with the number of faces, and for each face a line
    `x y width height blur expression illumination invalid occlusion pose`; the last six may be left out. A face is
    ignored if it is invalid or has no area. Where a picture has no face, a line of zeros may follow, as in WIDER FACE.

    Raises ListError, with the line that is wrong, where the list can't be read, is empty, names a picture twice, or a
    picture is not there.
    """
    labelled = list(_read(file, read_text(file).splitlines()))
    if not any((~each.ignored).any() for each in labelled):
        raise ListError(f"{file} names no face that is to be found")
    check_there(file, folder, (each.picture for each in labelled))
    return labelled


def _read(file: Path, lines: list[str]) -> Iterator[Labelled]:
    at = 0
    seen: dict[PurePath, int] = {}
    while at < len(lines):
        picture = lines[at].strip()
        if not picture:
            at += 1
            continue
        first = seen.setdefault(PurePath(picture), at + 1)
        if first != at + 1:  # each would be judged without the other's faces
            raise ListError(f"{file}, line {at + 1}: {picture} is in line {first} already. List all its faces there")
        word = lines[at + 1].strip() if at + 1 < len(lines) else ""
        count = whole_number(word)
        if count is None:
            raise ListError(f"{file}, line {at + 2}: expected the number of faces of {picture}, found {word[:100]!r}")
        at += 2
        faces = [_face(file, number + 1, lines) for number in range(at, at + count)]
        at += len(faces)
        if not faces and at < len(lines) and lines[at].split() in (["0"] * 4, ["0"] * 10):
            at += 1
        table = np.array(faces, np.float64).reshape(-1, 5)
        left_top, sides = table[:, :2], table[:, 2:4]
        ignored = (table[:, 4] != 0) | (sides <= 0).any(axis=1)
        yield Labelled(picture, np.concatenate([left_top, left_top + sides], axis=1), ignored)


def _face(file: Path, number: int, lines: list[str]) -> tuple[float, float, float, float, float]:
    """x, y, width, height, and whether it is invalid: from the line of that number, counted from 1."""
    words = lines[number - 1].split() if number <= len(lines) else []
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) not in {4, 10} or not np.isfinite(values).all():
        raise ListError(f"{file}, line {number}: expected a face, 4 or 10 numbers: x y width height and six labels")
    x, y, width, height = values[:4]
    return x, y, width, height, values[7] if len(values) == 10 else 0.0
