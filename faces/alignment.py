"""Image -> a detector's canvas, and landmarks -> an embedder's crop."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.detection import Face, View
from faces.image import REDUCTIONS, Picture, Pixels
from faces.templates import ARCFACE_TEMPLATE, Template

# Pixels of the picture for one of the crop's from which on there is something to average: not where they are the same
# but for a rounding, as in ArcFace's crop of a crop.
_SHRINKS = 1.05

# Pixels of a reduced picture for each of the crop's, across and down, that leave an embedding as it is: to a cosine of
# 0.9997, and with two of them to 0.9999 (tests/models/test_reduced_pictures.py).
DETAIL = 1


def letterbox(picture: Picture, size: int) -> tuple[NDArray[np.uint8], View]:
    """The picture, scaled to fit, in the top left corner of a black canvas.

    Returns the canvas, uint8 [size, size, 3], and where it lies in the full picture.
    """
    scale = size / max(picture.height, picture.width)
    inner = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    canvas = np.zeros((size, size, 3), np.uint8)
    shown = canvas[: inner[1], : inner[0]]
    rows, columns = picture.pixels.shape[:2]
    interpolation = cv2.INTER_AREA if size < max(rows, columns) else cv2.INTER_LINEAR
    if (columns * picture.reduction, rows * picture.reduction) == (picture.width, picture.height):
        cv2.resize(picture.pixels, inner, dst=shown, interpolation=interpolation)
    else:
        shown[:] = _fitted(picture, inner, interpolation)
    # Not the ratio of the sides: rounded to whole pixels, the shorter one is scaled a little differently.
    return canvas, View(picture.width / inner[0], picture.height / inner[1], 0, 0, picture.width, picture.height, size)


def _fitted(picture: Picture, inner: tuple[int, int], interpolation: int) -> Pixels:
    """A reduced picture scaled to inner (width, height), without what its last pixels show beyond the full picture.

    With that squeezed in, the detector would see the face at another scale than in the full picture.
    """
    # OpenCV's axes of a flip are numpy's. It keeps to a ratio only where it is told no size, and starts at the top
    # left: flipped, what is beyond lies on the other side, and is cut off.
    flips = [axis for axis, beyond in enumerate((picture.top, picture.left)) if beyond]
    pixels = picture.pixels
    for axis in flips:
        pixels = cv2.flip(pixels, axis).astype(np.uint8, copy=False)
    across, down = (inner[0] * picture.reduction / picture.width, inner[1] * picture.reduction / picture.height)
    shown = cv2.resize(pixels, None, fx=across, fy=down, interpolation=interpolation)[: inner[1], : inner[0]]
    for axis in flips:
        shown = cv2.flip(shown, axis)
    return shown.astype(np.uint8, copy=False)


def similarity(source: NDArray[np.float32], target: Template) -> NDArray[np.float64]:
    """The rotation, uniform scale and shift that take source nearest to target, in the sense of least squares.

    source, target: five points x, y each. Returns float64 [2, 3]. As Umeyama's estimator (1991) without reflection,
    which in the plane is one complex division: target = a source + b. A source whose points coincide gives zeros.
    """
    z = source[:, 0].astype(np.float64) + 1j * source[:, 1]
    w = np.array([complex(x, y) for x, y in target])
    centred = z - z.mean()
    spread = float((abs(centred) ** 2).sum())
    a = complex((centred.conj() * (w - w.mean())).sum() / spread) if spread > 0 else 0j
    b = complex(w.mean() - a * z.mean())
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def reduction_for(face: Face, template: Template, size: int) -> int:
    """How far the picture may be reduced for this face's crop to show what it would show without: 1, 2, 4 or 8."""
    matrix = _transform(face, template, size)
    shrink = 1 / math.hypot(matrix[0, 0], matrix[1, 0])
    return next((each for each in REDUCTIONS if shrink >= DETAIL * each), 1)


def align(wanted: Sequence[tuple[Picture, Face]], template: Template, size: int) -> NDArray[np.uint8]:
    """Cut each face out of its picture so that its landmarks lie on the template.

    Returns uint8 [len(wanted), size, size, 3]; black where a picture ends.
    """
    return np.stack([_cut(picture, _transform(face, template, size), size) for picture, face in wanted])


def realign(crop: Pixels, template: Template, size: int) -> NDArray[np.uint8]:
    """Move an ArcFace-aligned crop on to an embedder's own template.

    crop: uint8 [112, 112, 3]. Returns uint8 [1, size, size, 3]; for ArcFace's own template the very same pixels.
    """
    matrix = similarity(np.array(ARCFACE_TEMPLATE, np.float32), template)
    return _warp(crop, matrix, size)[None]


def _transform(face: Face, template: Template, size: int) -> NDArray[np.float64]:
    matrix = similarity(face.landmarks, template)
    side = max(1, face.right - face.left, face.bottom - face.top)  # a face cut at a corner can be all but nothing
    if size / 10_000 < math.hypot(matrix[0, 0], matrix[1, 0]) < 10 * size / side:
        return matrix
    # Landmarks that (all but) coincide, which would show less than a tenth of the box, or that lie in no way as a
    # face's do, have no direction and no size: the box, upright, is what is left to go by.
    scale = size / side
    x, y = (face.left + face.right) / 2, (face.top + face.bottom) / 2
    return np.array([[scale, 0, size / 2 - scale * x], [0, scale, size / 2 - scale * y]])


def _cut(picture: Picture, matrix: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """matrix: from the full picture to the crop."""
    # Pixel p of what is at hand shows the full picture's reduction (p + 0.5) - 0.5 - (left, top).
    from_reduced = matrix.copy()
    from_reduced[:, :2] *= picture.reduction
    from_reduced[:, 2] += matrix[:, :2] @ (picture.reduction / 2 - 0.5 - np.array([picture.left, picture.top]))
    return _warp(picture.pixels, from_reduced, size)


def _warp(image: Pixels, matrix: NDArray[np.float64], size: int) -> Pixels:
    """The crop of the image; each pixel of one that shrinks shows the average of what it covers.

    Sampled once a pixel, between pixels of the crop's own scale, a crop would be blurred by more or less as these
    happen to lie. With four samples a pixel, an embedding is that of the exact average to a cosine of 0.9999.
    """
    if math.hypot(matrix[0, 0], matrix[1, 0]) > 1 / _SHRINKS:
        return _sampled(image, matrix, size)
    finer = 2 * matrix
    finer[:, 2] += 0.5  # pixel p of the crop is 2p and 2p + 1
    sampled = _sampled(image, finer, 2 * size)
    return cv2.resize(sampled, (size, size), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _sampled(image: Pixels, matrix: NDArray[np.float64], size: int) -> Pixels:
    """OpenCV's warpAffine of what the crop shows of the image, shrunk beforehand where the crop is much smaller.

    Bilinear sampling skips pixels when it shrinks by more than two, so that the crop of a large face would flicker
    with its position. Cutting the part out first keeps the cost in proportion to the face instead of the image.
    """
    inverse = cv2.invertAffineTransform(matrix)
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], np.float64) @ inverse[:, :2].T + inverse[:, 2]
    height, width = image.shape[:2]
    # A pixel more on each side for the interpolation; never empty, also where the crop lies outside the image.
    left, top = np.clip(np.floor(corners.min(axis=0)).astype(int) - 1, 0, (width - 1, height - 1))
    right, bottom = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 2, (left + 1, top + 1), (width, height))
    part = image[top:bottom, left:right]
    shift = np.array([left, top], np.float64)
    factor = np.ones(2)
    shrink = 1 / math.hypot(matrix[0, 0], matrix[1, 0])
    if shrink > 2:
        small = np.maximum(1, np.round(np.array([right - left, bottom - top]) / shrink)).astype(int)
        factor = np.array([right - left, bottom - top]) / small
        shrunk = cv2.resize(part, (int(small[0]), int(small[1])), interpolation=cv2.INTER_AREA)
        part = shrunk.astype(np.uint8, copy=False)
    # Pixel p of the part shows the image's factor (p + 0.5) - 0.5 + shift.
    part_to_crop = matrix.copy()
    part_to_crop[:, :2] = matrix[:, :2] * factor
    part_to_crop[:, 2] = matrix[:, :2] @ (factor * 0.5 - 0.5 + shift) + matrix[:, 2]
    return cv2.warpAffine(part, part_to_crop, (size, size), flags=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
