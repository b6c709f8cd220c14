"""Decodings of detectors that answer for every cell of three grids: at strides 8, 16 and 32 of a square canvas.

Each answers a box and five points for every cell (YuNet) or for both anchors of it (SCRFD, RetinaFace), in steps that
the cell tells. Boxes of neighbouring cells overlap, and the caller suppresses them.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from models.errors import GraphMismatchError
from models.tail import Tail

STRIDES = (8, 16, 32)
# RetinaFace's anchors are squares of these sides at each of the strides.
RETINAFACE_SIDES = ((16, 32), (64, 128), (256, 512))

Floats = npt.NDArray[np.float32]

# What the box's four numbers are: where its centre lies and how large it is ...
_CENTRE_AND_SIDES = """
    shift, growth = Split <axis = 2> (best_box, halves)
    shifted = Mul (shift, step)
    centre = Add (at, shifted)
    damped = Mul (growth, damping)
    grown = Exp (damped)
    sides = Mul (grown, side)
    reach = Mul (sides, half)
    near = Sub (centre, reach)
    far = Add (near, sides)
"""
# ... or how far it reaches to the left, to the top, to the right and to the bottom.
_DISTANCES = """
    left_top, right_bottom = Split <axis = 2> (best_box, halves)
    to_near = Mul (left_top, step)
    to_far = Mul (right_bottom, step)
    near = Sub (at, to_near)
    far = Add (at, to_far)
"""


def yunet(size: int, candidates: int) -> Tail:
    """YuNet's twelve heads -> candidates float32 [n, K, 15] in pixels of the size x size canvas: see centerface.

    The heads in the order cls, obj, bbox, kps, each at strides 8, 16, 32; [n, cells, 1 | 1 | 4 | 10]. For the cell
    (x, y): score sqrt(cls obj), both cut to 0..1, centre (cell + offset) stride, sides exp(size) stride, points (cell +
    offset) stride. As OpenCV's FaceDetectorYN decodes the exports of libfacedetection.train (Wu, Peng and Yu, YuNet,
    2023), of which opencv_zoo publishes one.
    """
    priors = np.concatenate([_priors(size, stride, 0.0, 1.0, (stride,)) for stride in STRIDES])
    heads = _per_stride(size, {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}, anchors=1)
    scores = """
        all_cls = Concat <axis = 1> (cls_8, cls_16, cls_32)
        all_obj = Concat <axis = 1> (obj_8, obj_16, obj_32)
        cls = Clip (all_cls, zero, one)
        obj = Clip (all_obj, zero, one)
        product = Mul (cls, obj)
        root = Sqrt (product)
        scores = Squeeze (root, last)
        boxes = Concat <axis = 1> (bbox_8, bbox_16, bbox_32)
        points = Concat <axis = 1> (kps_8, kps_16, kps_32)
    """
    return _tail("yunet", size, candidates, heads=heads, scores=scores, box=_CENTRE_AND_SIDES, priors=priors)


def scrfd(size: int, candidates: int) -> Tail:
    """SCRFD's nine heads -> candidates float32 [n, K, 15] in pixels of the size x size canvas: see centerface.

    The heads in the order score, bbox, kps, each at strides 8, 16, 32; [n, 2 cells, 1 | 4 | 10], the two anchors of a
    cell one after the other. For the cell (x, y): the box reaches from the cell's corner, (x, y) stride, by four
    distances times stride to the left, top, right and bottom; points corner + offset stride. As InsightFace's
    python-package decodes its own exports (Guo et al., SCRFD, 2021), those of the model packs buffalo and antelope.
    """
    priors = np.concatenate([_priors(size, stride, 0.0, 1.0, (stride, stride)) for stride in STRIDES])
    heads = _per_stride(size, {"score": 1, "bbox": 4, "kps": 10}, anchors=2)
    scores = """
        all_scores = Concat <axis = 1> (score_8, score_16, score_32)
        scores = Squeeze (all_scores, last)
        boxes = Concat <axis = 1> (bbox_8, bbox_16, bbox_32)
        points = Concat <axis = 1> (kps_8, kps_16, kps_32)
    """
    return _tail("scrfd", size, candidates, heads=heads, scores=scores, box=_DISTANCES, priors=priors)


def retinaface(size: int, candidates: int) -> Tail:
    """RetinaFace's three heads -> candidates float32 [n, K, 15] in pixels of the size x size canvas: see centerface.

    The heads: loc [n, anchors, 4], conf [n, anchors, 2] after the softmax, of which the second is a face's, landms
    [n, anchors, 10]; the anchors of stride 8, then 16, then 32, two to a cell, squares of the sides RETINAFACE_SIDES.
    For an anchor at (cell + 0.5) stride with the side s: centre anchor + 0.1 offset s, sides s exp(0.2 size), points
    anchor + 0.1 offset s. As biubug6's Pytorch_Retinaface decodes its own exports (after Deng et al., RetinaFace,
    2019), trained on BGR minus (104, 117, 123). InsightFace's exports with nine outputs are decoded as scrfd.
    """
    levels = zip(STRIDES, RETINAFACE_SIDES, strict=True)
    priors = np.concatenate([_priors(size, stride, 0.5, 0.1, sides) for stride, sides in levels])
    heads = {"loc": (len(priors), 4), "conf": (len(priors), 2), "landms": (len(priors), 10)}
    scores = """
        scores = Gather <axis = 2> (conf, face)
        boxes = Identity (loc)
        points = Identity (landms)
    """
    box = _CENTRE_AND_SIDES
    return _tail("retinaface", size, candidates, heads=heads, scores=scores, box=box, priors=priors, damping=0.2)


def _per_stride(size: int, channels: Mapping[str, int], *, anchors: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{head}_{stride}": (anchors * (size // stride) ** 2, count)
        for head, count in channels.items()
        for stride in STRIDES
    }


def _priors(size: int, stride: int, corner: float, step: float, sides: tuple[int, ...]) -> Floats:
    """float32 [anchors, 4] of one grid: x, y, how many pixels an offset of 1 is, and a size of 1; row by row."""
    cells = size // stride
    places = (np.arange(cells) + corner) * stride
    y, x, side = np.meshgrid(places, places, sides, indexing="ij")
    return np.stack([x, y, step * side, side], axis=-1).reshape(-1, 4).astype(np.float32)


def _tail(
    name: str,
    size: int,
    candidates: int,
    *,
    heads: Mapping[str, tuple[int, ...]],
    scores: str,
    box: str,
    priors: Floats,
    damping: float = 1.0,
) -> Tail:
    """Picks the best by `scores`, then decodes these only.

    scores: the heads -> scores [n, anchors], boxes [n, anchors, 4], points [n, anchors, 10].
    box: best_box [n, K, 4] -> near [n, K, 2], far [n, K, 2], by at, step and side, [n, K, 2 | 1 | 1], of each anchor.
    """
    if size % 32:
        raise GraphMismatchError(f"expected a canvas of a multiple of 32 pixels for {name}, found {size}")
    kept = min(candidates, len(priors))
    taken = ", ".join(f"float[n, {rows}, {columns}] {head}" for head, (rows, columns) in heads.items())
    return Tail(
        heads=heads,
        output="candidates",
        tables={"priors": priors},
        text=f"""
        {name} ({taken}) => (float[n, {kept}, 15] candidates)
        <
            float zero = {{0}}, float half = {{0.5}}, float one = {{1}}, float damping = {{{damping}}},
            int64 face = {{1}}, int64[1] kept = {{{kept}}}, int64[1] last = {{2}},
            int64[2] row_sizes = {{4, 10}}, int64[3] prior_sizes = {{2, 1, 1}}, int64[2] halves = {{2, 2}}
        >
        {{
            {scores}
            score, anchor = TopK <axis = 1> (scores, kept)
            rows = Concat <axis = 2> (boxes, points)
            index = Unsqueeze (anchor, last)
            best = GatherND <batch_dims = 1> (rows, index)
            best_box, best_points = Split <axis = 2> (best, row_sizes)
            prior = Gather <axis = 0> (priors, anchor)
            at, step, side = Split <axis = 2> (prior, prior_sizes)
            {box}
            offsets = Mul (best_points, step)
            at_five_times = Concat <axis = 2> (at, at, at, at, at)
            places = Add (at_five_times, offsets)
            score_column = Unsqueeze (score, last)
            candidates = Concat <axis = 2> (near, far, score_column, places)
        }}
        """,
    )
