"""A detector's candidates -> faces, in the order and number asked for."""

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


@dataclass(frozen=True, slots=True)
class View:
    """Where a detector's canvas lies in a picture: its (x, y) is the picture's (x * across - left, y * down - top)."""

    across: float  # pixels of the picture for one of the canvas
    down: float
    left: int  # pixels of the picture
    top: int
    width: int  # of the picture, in pixels
    height: int


# In pixels; float32 counts every one up to here.
_FARTHEST: Final = 2.0**24


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


def read_candidates(
    candidates: NDArray[np.float32], view: View, *, score_threshold: float, iou_threshold: float
) -> list[Face]:
    """What a detector's graph answered for one canvas, as faces of the picture that the canvas was made from.

    candidates: float32 [K, 15], usable, a row each: box x1, y1, x2, y2, score, then five points x, y, in canvas pixels.
    Boxes are cut at the picture's border; one wholly outside is dropped.

    Keeps rows whose score exceeds score_threshold, then the best of each group that overlaps by more than
    iou_threshold (greedy non-maximum suppression, OpenCV's). By falling confidence.
    """
    rows = candidates[candidates[:, 4] > score_threshold].astype(np.float64)
    places = np.delete(rows, 4, axis=1).reshape(-1, 7, 2) * (view.across, view.down) - (view.left, view.top)
    places = places.clip(-_FARTHEST, _FARTHEST)
    corners, points = places[:, :2], places[:, 2:].astype(np.float32)
    boxes = np.concatenate([corners[:, 0], corners[:, 1] - corners[:, 0]], axis=1)
    kept = cv2.dnn.NMSBoxes(boxes.tolist(), rows[:, 4].tolist(), score_threshold, iou_threshold)
    found = []
    for index in kept:
        (left, top), (right, bottom) = np.clip(corners[index], 0, (view.width, view.height)).tolist()
        if right > left and bottom > top:
            found.append(Face(left, top, right, bottom, float(rows[index, 4]), points[index]))
    return found


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
