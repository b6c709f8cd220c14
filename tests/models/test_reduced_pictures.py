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

Pixels = npt.NDArray[np.uint8]
DETECTOR = describe("centerface")
EMBEDDER = describe("dlib-resnet-v1")


def session(model: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(store.find(model).path.read_bytes(), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def detector() -> onnxruntime.InferenceSession:
    return session("centerface")


@pytest.fixture(scope="module")
def embedder() -> onnxruntime.InferenceSession:
    return session("dlib-resnet-v1")


def only_face(detector: onnxruntime.InferenceSession, picture: Picture) -> Face:
    assert DETECTOR.detector is not None
    canvas, view = letterbox(picture, DETECTOR.input.size)
    [candidates] = detector.run(["candidates"], {"canvases": canvas[None]})[0]
    rows = read_candidates(candidates, view, score_threshold=DETECTOR.detector.score_threshold)
    best = suppress([rows], iou_threshold=DETECTOR.detector.iou_threshold)
    [face] = read_faces(best, width=view.width, height=view.height)
    return face


@pytest.mark.parametrize("side", [2568, 5120])
@pytest.mark.parametrize("name", ["astronaut", "grace_hopper"])
def test_a_reduced_picture_gives_the_same_face(
    request: pytest.FixtureRequest,
    detector: onnxruntime.InferenceSession,
    embedder: onnxruntime.InferenceSession,
    name: str,
    side: int,
) -> None:
    assert EMBEDDER.embedder is not None
    small = Image.fromarray(request.getfixturevalue(name))
    image = small.resize((small.width * side // small.height, side), Image.Resampling.LANCZOS)
    grain = np.random.default_rng(0).integers(-8, 9, (image.height, image.width, 1), np.int16)
    file = io.BytesIO()
    Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    seen = 2 if side == 2568 else 4  # the reductions that leave the detector two pixels for each of its canvas
    full, reduced = (decode(file.getvalue(), max_pixels=10**8, reduction=each) for each in (1, seen))
    face, again = only_face(detector, full), only_face(detector, reduced)
    per_canvas = side / DETECTOR.input.size
    edges = np.array([[each.left, each.top, each.right, each.bottom] for each in (face, again)])
    assert abs(edges[0] - edges[1]).max() < per_canvas
    assert abs(face.landmarks - again.landmarks).max() < per_canvas
    template, size = EMBEDDER.embedder.template, EMBEDDER.input.size
    enough = min(seen, reduction_for(face, template, size))
    assert enough > 1
    crops = align([(full, face), (decode(file.getvalue(), max_pixels=10**8, reduction=enough), face)], template, size)
    one, other = embedder.run(["embeddings"], {"crops": crops})[0]
    assert one @ other >= 0.999
