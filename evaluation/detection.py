"""From the faces found in labelled pictures to precision, recall and average precision."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEAST_IOU: Final = 0.5
# The square root of a face's area, in pixels, from and below: the sizes of COCO.
SIZES: Final = {"all": (0.0, np.inf), "small": (0.0, 32.0), "medium": (32.0, 96.0), "large": (96.0, np.inf)}


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What was found in one picture, and what there is to find.

    boxes, truths: float64 [k, 4] and [n, 4], left, top, right, bottom. confidences: [k]. ignored: bool [n].
    """

    boxes: Floats
    confidences: Floats
    truths: Floats
    ignored: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class PrecisionRecall:
    """Of what is found with at least that confidence, for each that occurs, falling: all [m]. faces: to be found."""

    confidences: Floats
    precision: Floats
    recall: Floats
    faces: int

    @property
    def average(self) -> float:
        """Average precision, at every point as in Pascal VOC from 2010 on: the area under the curve once each precision
        is raised to the highest at its recall or a higher one.
        """
        raised = np.maximum.accumulate(self.precision[::-1])[::-1]
        return float((np.diff(self.recall, prepend=0) * raised).sum())

    def above(self, confidence: float) -> tuple[float | None, float]:
        """Precision and recall of what is found with more than that confidence; no precision where that is nothing."""
        counted = int((self.confidences > confidence).sum())
        return (float(self.precision[counted - 1]), float(self.recall[counted - 1])) if counted else (None, 0.0)


def precision_recall(pictures: Iterable[Found], sizes: tuple[float, float]) -> PrecisionRecall | None:
    """Of the faces of those sizes; None where there is none.

    In each picture, by falling confidence, what is found takes the truth that it overlaps most of those not taken yet,
    if their intersection over union is at least 0.5, and is a false alarm otherwise. Truths that are ignored, or of
    another size, come last, may be taken by several, and count neither way; nor do false alarms of another size.
    """
    least, most = sizes
    faces, confidences, right = 0, [], []
    for picture in pictures:
        side = _side(picture.truths)
        ignored = picture.ignored | (side < least) | (side >= most)
        faces += int((~ignored).sum())
        verdicts = _judge(picture, ignored)
        side = _side(picture.boxes)
        counted = (verdicts == 1) | ((verdicts == 0) & (side >= least) & (side < most))
        confidences.append(picture.confidences[counted])
        right.append(verdicts[counted] == 1)
    if not faces:
        return None
    return _curve(np.concatenate(confidences), np.concatenate(right), faces)


def overlaps(boxes: Floats, others: Floats) -> Floats:
    """Intersection over union, [k, n]. Boxes have an area."""
    near = np.maximum(boxes[:, None, :2], others[None, :, :2])
    far = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = (far - near).clip(0).prod(axis=2)
    areas = [(each[:, 2:] - each[:, :2]).prod(axis=1) for each in (boxes, others)]
    union = areas[0][:, None] + areas[1] - shared
    found: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return found


def _judge(picture: Found, ignored: NDArray[np.bool_]) -> NDArray[np.int64]:
    """[k]: 1 for a face, 0 for a false alarm, -1 for what counts neither way."""
    verdicts = np.zeros(len(picture.boxes), np.int64)
    free = ~ignored
    for index in np.argsort(-picture.confidences, kind="stable"):
        overlap = overlaps(picture.boxes[index : index + 1], picture.truths)[0]
        to_take = np.where(free, overlap, 0)
        if to_take.max(initial=0) >= LEAST_IOU:
            verdicts[index] = 1
            free[to_take.argmax()] = False
        elif overlap[ignored].max(initial=0) >= LEAST_IOU:
            verdicts[index] = -1
    return verdicts


def _curve(confidences: Floats, right: NDArray[np.bool_], faces: int) -> PrecisionRecall:
    order = np.argsort(-confidences, kind="stable")
    confidences, found = confidences[order], np.cumsum(right[order])
    # What has the same confidence is found by the same threshold.
    last = np.flatnonzero(np.diff(confidences, append=-np.inf))
    return PrecisionRecall(confidences[last], found[last] / (last + 1), found[last] / faces, faces)


def _side(boxes: Floats) -> Floats:
    side: Floats = np.sqrt((boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1))
    return side
