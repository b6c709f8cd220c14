"""Where the landmarks of an aligned crop lie. Numbers only: what describes models needs them without any image code."""

from collections.abc import Sequence

Point = tuple[float, float]
Template = Sequence[Point]

# Where the five landmarks lie in a 112x112 crop for ArcFace and everything trained on its alignment
# (Deng et al., insightface, face_align.py): left eye, right eye, nose tip, left and right mouth corner; x, y.
ARCFACE_TEMPLATE: tuple[Point, Point, Point, Point, Point] = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
ARCFACE_SIZE = 112
