"""A detector's candidates -> faces, in the order and number asked for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One detected face, in pixels of the upright image, where the image spans 0..width and 0..height."""

    left: float
    top: float
    right: float
    bottom: float
    confidence: float  # the detector's, 0 to 1
    landmarks: NDArray[np.float32]  # [5, 2] x, y: left eye, right eye, nose tip, left and right mouth corner, as seen

    @property
    def area(self) -> float:
        return (self.right - self.left) * (self.bottom - self.top)

    def distance_to(self, x: float, y: float) -> float:
        """From the box's centre, in pixels."""
        return float(np.hypot((self.left + self.right) / 2 - x, (self.top + self.bottom) / 2 - y))


Rectangle = tuple[float, float, float, float]
ANYWHERE: Final[Rectangle] = (-math.inf, -math.inf, math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class View:
    """What a detector's canvas shows of a picture.

    Turned upright, its (x, y) is the picture's (x * across - left, y * down - top).
    """

    across: float  # pixels of the picture for one of the canvas
    down: float
    left: float  # pixels of the picture
    top: float
    width: int  # of the picture, in pixels
    height: int
    size: int  # of the canvas, in its pixels
    turns: int = 0  # quarter turns of the canvas, counterclockwise
    # Whether only faces count that stand upright on the canvas: the picture is shown in other turns as well.
    upright: bool = False
    # Both left, top, right, bottom, on the canvas turned upright: where the middle of a face has to lie, so as not to
    # be of what is shown beside, and where the whole face has to, so as not to be cut.
    shown: Rectangle = ANYWHERE
    within: Rectangle = ANYWHERE


# In pixels; float32 counts every one up to here.
_FARTHEST: Final = 2.0**24
_MOST: Final = (
    8192  # more than ten times what a client can ask for; the time that suppression takes grows as its square
)
_PART: Final = 0.7  # of a box's area
# In degrees. In one of four turns every face leans by 45 or less; the rest is for its landmarks, which are not exact.
_UPRIGHT: Final = 60


class Order(IntEnum):
    """How faces are ranked. The values are the contract's `detectSortType`."""

    CONFIDENCE = 0  # highest first
    AREA = 1  # largest first
    LEFT_TO_RIGHT = 2
    CENTRE = 3  # nearest to the image's centre first


def usable(candidates: NDArray[np.float32], score_threshold: float) -> bool:
    """Whether all that could be faces are finite, as a detector's answer is unless its device or its model fails.

    A row whose score is NaN could be a face; what is wrong in one that scores too little changes no answer.

    candidates: as for read_candidates.
    """
    return bool(np.isfinite(candidates[~(candidates[:, 4] <= score_threshold)]).all())


def read_candidates(candidates: NDArray[np.float32], view: View, *, score_threshold: float) -> NDArray[np.float64]:
    """What a detector's graph answered for one canvas, in pixels of the picture that the canvas shows.

    candidates: float32 [K, 15], usable, a row each: box x1, y1, x2, y2, score, then five points x, y, in canvas pixels.
    Returns float64 [m, 15], those that score more than score_threshold and stand and lie as the view says.
    """
    rows = candidates[candidates[:, 4] > score_threshold].astype(np.float64)
    scores, places = rows[:, 4], np.delete(rows, 4, axis=1).reshape(-1, 7, 2)
    if view.upright:
        standing = _lean(places[:, 2:]) <= _UPRIGHT
        scores, places = scores[standing], places[standing]
    places = _turned_back(places, view)
    middle = places[:, :2].mean(axis=1)
    whole = _inside(middle, middle, view.shown) & _inside(places[:, 0], places[:, 1], view.within)
    places = (places[whole] * (view.across, view.down) - (view.left, view.top)).clip(-_FARTHEST, _FARTHEST)
    flat = places.reshape(-1, 14)
    return np.concatenate([flat[:, :4], scores[whole, None], flat[:, 4:]], axis=1)


def suppress(looks: Sequence[NDArray[np.float64]], *, iou_threshold: float) -> NDArray[np.float64]:
    """The best of each group of candidates that overlap by more than iou_threshold, of all canvases of one picture.

    looks: for each canvas float64 [m, 15], as read_candidates gives them. Returns such rows by falling score: greedy
    non-maximum suppression, OpenCV's, of the 8,192 of highest score.
    """
    rows = np.concatenate(looks)
    rows = rows[np.argsort(-rows[:, 4], kind="stable")[:_MOST]]
    boxes = np.concatenate([rows[:, :2], rows[:, 2:4] - rows[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxes(boxes.tolist(), rows[:, 4].tolist(), 0.0, iou_threshold)
    return rows[np.asarray(kept, np.intp)]


def without_parts(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows that suppress gave, without those that lie, for the most part, within one of higher score.

    Tiles show parts of faces, which a detector may take for small ones; the overlap with the whole face is little.
    """
    kept: list[int] = []
    sides = rows[:, 2:4] - rows[:, :2]
    areas = sides[:, 0] * sides[:, 1]
    for index, (row, area) in enumerate(zip(rows, areas, strict=True)):
        better = rows[kept]
        shared = np.minimum(better[:, 2:4], row[2:4]) - np.maximum(better[:, :2], row[:2])
        if not (shared.clip(0).prod(axis=1) > _PART * area).any():
            kept.append(index)
    return rows[kept]


def longer_sides(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the boxes of rows as read_candidates gives them, in pixels."""
    sides: NDArray[np.float64] = (rows[:, 2:4] - rows[:, :2]).max(axis=1, initial=0)
    return sides


def read_faces(rows: NDArray[np.float64], *, width: int, height: int) -> list[Face]:
    """The faces of a picture of that size, in pixels. rows: float64 [m, 15], as suppress gives them.

    Boxes are cut at the picture's border; one wholly outside is dropped.
    """
    corners = rows[:, :4].reshape(-1, 2, 2).clip(0, (width, height)).reshape(-1, 4)
    points = rows[:, 5:].reshape(-1, 5, 2).astype(np.float32)
    return [
        Face(left, top, right, bottom, score, landmarks)
        for (left, top, right, bottom), score, landmarks in zip(
            corners.tolist(), rows[:, 4].tolist(), points, strict=True
        )
        if right > left and bottom > top
    ]


def _inside(near: NDArray[np.float64], far: NDArray[np.float64], rectangle: Rectangle) -> NDArray[np.bool_]:
    """near, far: [m, 2] x, y of the upper left and lower right corners."""
    inside: NDArray[np.bool_] = np.all(np.concatenate([near >= rectangle[:2], far <= rectangle[2:]], axis=1), axis=1)
    return inside


def _lean(landmarks: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how many degrees the way from mouth to eyes leans from straight up; 0 where they are in one place.

    landmarks: [m, 5, 2].
    """
    up = landmarks[:, :2].mean(axis=1) - landmarks[:, 3:].mean(axis=1) - (0, 1e-9)
    lean: NDArray[np.float64] = np.degrees(np.abs(np.arctan2(up[:, 0], -up[:, 1])))
    return lean


def _turned_back(places: NDArray[np.float64], view: View) -> NDArray[np.float64]:
    """Boxes' two corners and five points, [m, 7, 2], on the canvas as it was before its turns."""
    for _ in range(view.turns):
        places = np.stack([view.size - places[..., 1], places[..., 0]], axis=-1)
        # What was the lower edge is the left one now.
        places[:, :2, 0] = places[:, 1::-1, 0]
    return places


def select(faces: list[Face], order: Order, limit: int, *, width: int, height: int) -> list[Face]:
    """The first `limit` faces in the order asked for; ties by confidence, then from left to right.

    width, height: of the image, in pixels.
    """

    def rank(face: Face) -> tuple[float, float, float]:
        match order:
            case Order.CONFIDENCE:
                first = -face.confidence
            case Order.AREA:
                first = -face.area
            case Order.LEFT_TO_RIGHT:
                first = face.left
            case Order.CENTRE:
                first = face.distance_to(width / 2, height / 2)
        return first, -face.confidence, face.left

    return sorted(faces, key=rank)[:limit]
