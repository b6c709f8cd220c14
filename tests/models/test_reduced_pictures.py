"""What reduced decoding does to boxes and embeddings, with the real starter models."""

import io

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from PIL import Image

from faces.alignment import align, letterbox, reduction_for
from faces.detection import Face, read_candidates, read_faces, suppress
from faces.image import Picture, decode
from models import store
from models.catalog import describe
from tests.models.sessions import session_of

Pixels = npt.NDArray[np.uint8]
DETECTOR = describe("centerface")
EMBEDDER = describe("dlib-resnet-v1")


def session(model: str) -> onnxruntime.InferenceSession:
    return session_of(store.find(model).path.read_bytes())


@pytest.fixture(scope="module")
def detector() -> onnxruntime.InferenceSession:
    return session("centerface")


@pytest.fixture(scope="module")
def embedder() -> onnxruntime.InferenceSession:
    return session("dlib-resnet-v1")


def only_face(detector: onnxruntime.InferenceSession, picture: Picture) -> tuple[Pixels, Face]:
    """And the canvas that it was found in."""
    assert DETECTOR.detector is not None
    canvas, view = letterbox(picture, DETECTOR.input.size)
    [candidates] = detector.run(["candidates"], {"canvases": canvas[None]})[0]
    rows = read_candidates(candidates, view, score_threshold=DETECTOR.detector.score_threshold)
    best = suppress([rows], iou_threshold=DETECTOR.detector.iou_threshold)
    [face] = read_faces(best, width=view.width, height=view.height)
    return canvas, face


@pytest.mark.parametrize(
    ("name", "side"), [("astronaut", 4003), ("astronaut", 5125), ("grace_hopper", 3001), ("grace_hopper", 5120)]
)
def test_a_reduced_picture_gives_the_same_face(
    request: pytest.FixtureRequest,
    detector: onnxruntime.InferenceSession,
    embedder: onnxruntime.InferenceSession,
    name: str,
    side: int,
) -> None:
    """To half a pixel of the canvas: the face moves by as much where noise of two levels is laid over the canvas.

    Not every picture does as well. Where two cells of the detector's heat map score alike, either may win, and the
    box jumps by 4.5 pixels: this astronaut's does with 2564 pixels, and, decoded in full, with a shift by half a pixel
    of the canvas or a scale of 1.001.
    """
    assert EMBEDDER.embedder is not None
    small = Image.fromarray(request.getfixturevalue(name))
    image = small.resize((small.width * side // small.height, side), Image.Resampling.LANCZOS)
    grain = np.random.default_rng(0).integers(-8, 9, (image.height, image.width, 1), np.int16)
    file = io.BytesIO()
    Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    # The reductions that leave the detector two pixels for each of its canvas. No picture is a multiple of its own.
    seen = 2 if side < 5120 else 4
    full, reduced = (decode(file.getvalue(), max_pixels=10**8, reduction=each) for each in (1, seen))
    (canvas, face), (other_canvas, again) = only_face(detector, full), only_face(detector, reduced)
    # In levels; 0.2 to 0.45 are seen, and from 0.6 to 1.6 where the two are scaled by a pixel more or less.
    assert abs(canvas.astype(int) - other_canvas).mean() < 0.5
    half = 0.5 * side / DETECTOR.input.size
    edges = np.array([[each.left, each.top, each.right, each.bottom] for each in (face, again)])
    assert abs(edges[0] - edges[1]).max() < half
    assert abs(face.landmarks - again.landmarks).max() < half
    template, size = EMBEDDER.embedder.template, EMBEDDER.input.size
    enough = min(seen, reduction_for(face, template, size))
    assert enough > 1
    finer = decode(file.getvalue(), max_pixels=10**8, reduction=enough)
    crops = align([(full, face), (finer, face), (finer, again)], template, size)
    whole, cut, moved = embedder.run(["embeddings"], {"crops": crops})[0]
    assert whole @ cut >= 0.9999
    # The half of a pixel that the face moves by.
    assert whole @ moved >= 0.9995
