"""The decodings of published detectors in plain numpy, cell by cell, from what their authors wrote.

Each: one image's heads, as float32 [rows, k] -> float32 [rows, 15] by falling score, for a canvas of side x side.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

STRIDES = (8, 16, 32)


def yunet(heads: Sequence[Floats], side: int) -> Floats:
    """OpenCV's FaceDetectorYN, postProcess: twelve heads, cls, obj, bbox and kps at each of the strides."""
    rows = []
    for level, stride in enumerate(STRIDES):
        cls, obj, box, points = heads[level::3]
        for index, (y, x, _) in enumerate(cells(side, stride, anchors=1)):
            score = math.sqrt(min(max(cls[index, 0], 0), 1) * min(max(obj[index, 0], 0), 1))
            centre_x, centre_y = (x + box[index, 0]) * stride, (y + box[index, 1]) * stride
            width, height = math.exp(box[index, 2]) * stride, math.exp(box[index, 3]) * stride
            left, top = centre_x - width / 2, centre_y - height / 2
            places = [
                place
                for k in range(5)
                for place in ((points[index, 2 * k] + x) * stride, (points[index, 2 * k + 1] + y) * stride)
            ]
            rows.append([left, top, left + width, top + height, score, *places])
    return by_score(rows)


def scrfd(heads: Sequence[Floats], side: int) -> Floats:
    """InsightFace's python-package, distance2bbox and distance2kps: nine heads, score, bbox and kps at each stride."""
    rows = []
    for level, stride in enumerate(STRIDES):
        score, box, points = heads[level::3]
        for index, (y, x, _) in enumerate(cells(side, stride, anchors=2)):
            centre_x, centre_y = x * stride, y * stride
            left, top, right, bottom = box[index] * stride
            places = [
                place
                for k in range(5)
                for place in (centre_x + points[index, 2 * k] * stride, centre_y + points[index, 2 * k + 1] * stride)
            ]
            corners = [centre_x - left, centre_y - top, centre_x + right, centre_y + bottom]
            rows.append([*corners, score[index, 0], *places])
    return by_score(rows)


def retinaface(heads: Sequence[Floats], side: int) -> Floats:
    """biubug6's Pytorch_Retinaface, PriorBox, decode and decode_landm: loc, conf and landms, in units of the side."""
    loc, conf, landms = heads
    rows = []
    sides = {8: (16, 32), 16: (64, 128), 32: (256, 512)}
    places = [(stride, *cell) for stride in STRIDES for cell in cells(side, stride, anchors=2)]
    for index, (stride, y, x, anchor) in enumerate(places):
        prior = np.array([(x + 0.5) * stride, (y + 0.5) * stride]) / side
        size = sides[stride][anchor] / side
        centre = prior + loc[index, :2] * 0.1 * size
        extent = size * np.exp(loc[index, 2:] * 0.2)
        near = centre - extent / 2
        points = prior + landms[index].reshape(5, 2) * 0.1 * size
        corners = np.concatenate([near, near + extent]) * side
        rows.append([*corners, conf[index, 1], *(points * side).ravel()])
    return by_score(rows)


def cells(side: int, stride: int, anchors: int) -> Iterator[tuple[int, int, int]]:
    """y, x and number of each anchor, in the order in which heads have them."""
    yield from np.ndindex(side // stride, side // stride, anchors)


def by_score(rows: list[list[float]]) -> Floats:
    return np.array(sorted(rows, key=lambda row: -row[4]), np.float32)
