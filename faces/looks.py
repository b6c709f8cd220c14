"""Where a detector looks: at the whole picture, from farther away, closer at parts of it, and turned."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.alignment import letterbox
from faces.detection import View
from faces.image import Picture

# A face that fills the frame lacks what detectors go by, its outline. On a quarter of the canvas it is found all the
# same: measured in docs/accuracy.md.
FARTHER: Final = 4
# From one level of tiles to the next, and to the whole picture.
MOST_CLOSER: Final = 4
# There is no face to see where nothing stands out: where the means of squares of 8 x 8 pixels, of which a face has nine
# or more, differ by less than this from their neighbours', of 255.
CONTRAST: Final = 8
_SQUARE: Final = 8
# A patch is so many times as wide as the face that may be in it.
PATCH: Final = 4
# Pixels of the canvas: a box that comes so near to where a tile or patch ends may be cut there.
_EDGE: Final = 2
# With so little to gain, the whole picture was enough.
_LEAST_CLOSER: Final = 1.25


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of a picture, in its pixels, to be shown on a canvas of its own."""

    left: int
    top: int
    side: int  # of the square that fills the canvas; it may reach beyond the picture on the right and at the bottom


@dataclass(frozen=True, slots=True)
class Look:
    """Canvases of one picture, and what each of them shows."""

    canvases: NDArray[np.uint8]  # [n, size, size, 3]
    views: list[list[View]]  # for each canvas what it shows, which is one thing mostly


def whole(picture: Picture, size: int) -> Look:
    """The picture in the top left corner of a black canvas."""
    canvas, view = letterbox(picture, size)
    return Look(canvas[None], [[view]])


def farther(look: Look) -> Look:
    """The same, from farther away: each canvas shrunk into the corner of an empty one. Before it is turned."""
    size = look.canvases.shape[1]
    inner = size // FARTHER
    far = np.zeros_like(look.canvases)
    for canvas, shrunk in zip(look.canvases, far, strict=True):
        cv2.resize(canvas, (inner, inner), dst=shrunk[:inner, :inner], interpolation=cv2.INTER_AREA)
    by = size / inner
    views = [[replace(view, across=view.across * by, down=view.down * by) for view in views] for views in look.views]
    return Look(far, views)


def closer(picture: Picture, wanted: Sequence[Tile], size: int) -> Look:
    """A canvas for each of the tiles in which anything stands out. picture: decoded in full."""
    canvases: list[NDArray[np.uint8]] = []
    views = []
    for tile in wanted:
        canvas = np.zeros((size, size, 3), np.uint8)
        view = _show(picture, tile, canvas, left=0, top=0, size=size)
        if _stands_out(canvas):
            canvases.append(canvas)
            views.append([view])
    return Look(np.array(canvases, np.uint8).reshape(-1, size, size, 3), views)


def _stands_out(canvas: NDArray[np.uint8]) -> bool:
    squares = max(1, len(canvas) // _SQUARE)
    means = cv2.resize(canvas, (squares, squares), interpolation=cv2.INTER_AREA)
    around = np.ones((3, 3), np.uint8)
    return bool((cv2.dilate(means, around).astype(int) - cv2.erode(means, around)).max() >= CONTRAST)


def patches_across(size: int, face: int) -> int:
    """How many patches a canvas has, across and down, if a face is to have nearly twice `face` pixels there."""
    return max(1, round(size / (PATCH * 1.9 * face)))


def patches(signs: NDArray[np.float64], width: int, height: int, *, largest: float, most: int) -> list[Tile]:
    """Parts of a picture to be looked at once more, each around what may be a face, and not twice around the same.

    signs: float64 [m, 15] as read_candidates gives them; the first ones count where there would be more than `most`.
    width, height: of the picture, in pixels; what has its middle outside is nothing to look at, nor is what is larger
    than `largest`, since a patch would not enlarge it.
    """
    chosen: list[Tile] = []
    for left, top, right, bottom in signs[:, :4].tolist():
        face, x, y = max(1, right - left, bottom - top), (left + right) / 2, (top + bottom) / 2
        if face > largest or not (0 <= x < width and 0 <= y < height):
            continue
        known = any(
            abs(x - each.left - each.side / 2) + face < each.side / 2
            and abs(y - each.top - each.side / 2) + face < each.side / 2
            and each.side < 2 * PATCH * face
            for each in chosen
        )
        if not known:
            side = round(PATCH * face)
            chosen.append(Tile(max(0, round(x - side / 2)), max(0, round(y - side / 2)), side))
            if len(chosen) == most:
                break
    return chosen


def mosaics(picture: Picture, wanted: Sequence[Tile], size: int, *, across: int) -> Look:
    """The patches, `across` by `across` on a canvas. picture: decoded in full."""
    cell = size // across
    count = -(-len(wanted) // across**2)
    canvases = np.zeros((count, size, size, 3), np.uint8)
    views: list[list[View]] = [[] for _ in range(count)]
    for number, patch in enumerate(wanted):
        canvas, place = divmod(number, across**2)
        row, column = divmod(place, across)
        views[canvas].append(_show(picture, patch, canvases[canvas], left=column * cell, top=row * cell, size=cell))
    return Look(canvases, views)


def _part(picture: Picture, tile: Tile) -> NDArray[np.uint8]:
    return picture.pixels[tile.top : tile.top + tile.side, tile.left : tile.left + tile.side]


def _show(picture: Picture, tile: Tile, canvas: NDArray[np.uint8], *, left: int, top: int, size: int) -> View:
    """Draw the tile on the canvas, where it fills the square of `size` pixels a side at (left, top)."""
    part = _part(picture, tile)
    height, width = part.shape[:2]
    columns, rows = (max(1, round(side * size / tile.side)) for side in (width, height))
    canvas[top : top + rows, left : left + columns] = cv2.resize(
        part, (columns, rows), interpolation=cv2.INTER_AREA if tile.side > size else cv2.INTER_LINEAR
    )
    across, down = width / columns, height / rows
    right, bottom = left + columns, top + rows
    return View(
        across,
        down,
        left * across - tile.left,
        top * down - tile.top,
        picture.width,
        picture.height,
        len(canvas),
        shown=(left, top, right, bottom),
        within=(
            left + _EDGE if tile.left else -math.inf,
            top + _EDGE if tile.top else -math.inf,
            right - _EDGE if tile.left + width < picture.width else math.inf,
            bottom - _EDGE if tile.top + height < picture.height else math.inf,
        ),
    )


def turned(look: Look) -> Look:
    """Each canvas in four turns. Only what stands upright in one of them counts in it."""
    canvases = [np.rot90(look.canvases, turns, axes=(1, 2)) for turns in range(4)]
    views = [[replace(view, turns=turns, upright=True) for view in views] for turns in range(4) for views in look.views]
    return Look(np.concatenate(canvases), views)


def levels(width: int, height: int, size: int, *, face: int, smallest: float, most: int) -> list[int]:
    """The sides of the tiles in which faces of `smallest` pixels fill at least `face` pixels of a canvas.

    width, height: of the picture, in pixels. size: of the canvas; face may be an eighth of it, and counts as that where
    it is more. From the closest level outward, each at most four times as far as the one before, up to the whole
    picture, which is not among them. Where that would be more than `most` tiles, faces have to be larger to be found.
    Empty where the whole picture shows (all but) as much as the closest level would.
    """
    face = min(face, size // 8)
    from_afar = size / max(width, height)
    closest = face / smallest
    while closest > _LEAST_CLOSER * from_afar:
        count = math.ceil(math.log(closest / from_afar, MOST_CLOSER))
        step = (closest / from_afar) ** (1 / count)
        sides = [round(size / closest * step**level) for level in range(count)]
        counts = (_count(width, side, size, face) * _count(height, side, size, face) for side in sides)
        if sum(counts) <= most:
            return sides
        closest *= 0.95
    return []


def tiles(width: int, height: int, sides: Sequence[int], size: int, *, face: int) -> list[Tile]:
    """Tiles of those sides, as levels gave them for the same numbers, which cover the picture.

    Neighbours overlap by so much that what the border of one cuts is whole in the next one, or large enough in the
    level that is farther away.
    """
    face = min(face, size // 8)
    return [
        Tile(left, top, side)
        for side in sides
        for top in _starts(height, side, size, face)
        for left in _starts(width, side, size, face)
    ]


def _starts(length: int, side: int, size: int, face: int) -> list[int]:
    """Where the tiles begin that cover a length, evenly."""
    count = _count(length, side, size, face)
    return [round(number * (length - side) / max(1, count - 1)) for number in range(count)]


def _count(length: int, side: int, size: int, face: int) -> int:
    overlap = round(side * MOST_CLOSER * face / size)
    return 1 if length <= side else 1 + math.ceil((length - side) / (side - overlap))
