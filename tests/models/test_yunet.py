"""YuNet against OpenCV's FaceDetectorYN, which reads the published file itself, on the same pictures.

With the real weights where `pytest --original-models DIR` finds them, and with a stand-in of the same shape otherwise:
its faces are no faces, and its decoding is the same. `pytest -rP` tells which it was.
"""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from faces.alignment import letterbox
from faces.detection import Face, View, read_candidates, read_faces, suppress
from faces.image import Picture
from models.catalog import DetectorSpec, describe
from models.prepare import prepare
from tests.models import originals

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

SIDE = 640
YUNET = describe("yunet-2023mar")


class Detectors:
    """The same file, prepared for us and as OpenCV reads it. Both take a canvas, uint8 [640, 640, 3] RGB."""

    def __init__(self, file: Path, *, real: bool) -> None:
        self.file = file
        self.real = real
        graph = prepare(YUNET, file.read_bytes()).SerializeToString()
        self._session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])

    def ours(self, canvas: Pixels) -> Floats:
        """float32 [K, 15], as read_candidates takes it."""
        answers: Floats = self._session.run(["candidates"], {"canvases": canvas[None]})[0][0]
        return answers

    def opencv(self, canvas: Pixels, score: float, overlap: float) -> Floats:
        """The same rows for what is left after suppression."""
        detector = cv2.FaceDetectorYN.create(str(self.file), "", (SIDE, SIDE), score, overlap, top_k=100_000)
        _, found = detector.detect(np.ascontiguousarray(canvas[..., ::-1]))
        corner, sides, points, scores = np.split(np.asarray(found, np.float32), [2, 4, 14], axis=1)
        return np.concatenate([corner, corner + sides, scores, points], axis=1)


@pytest.fixture(scope="module")
def both_detectors(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Detectors:
    source, kind = originals.source(YUNET, pytestconfig.getoption("--original-models"))
    file = tmp_path_factory.mktemp("yunet") / "yunet.onnx"
    file.write_bytes(source)
    return Detectors(file, real=kind == originals.PUBLISHED)


@pytest.fixture
def detectors(both_detectors: Detectors) -> Detectors:
    originals.tell(YUNET, originals.PUBLISHED if both_detectors.real else originals.STAND_IN)
    return both_detectors


@pytest.fixture(params=["astronaut", "grace_hopper", "both"])
def canvas(request: pytest.FixtureRequest, astronaut: Pixels, grace_hopper: Pixels) -> Pixels:
    """A side of 640 is one of whole strides, so that OpenCV pads nothing."""
    side_by_side = np.concatenate([astronaut, grace_hopper[:512]], axis=1)
    pixels = {"astronaut": astronaut, "grace_hopper": grace_hopper, "both": side_by_side}[request.param]
    height, width = pixels.shape[:2]
    return letterbox(Picture(pixels, width, height), SIDE)[0]


def test_every_candidate_is_opencv_s(detectors: Detectors, canvas: Pixels) -> None:
    """Before suppression: nothing overlaps by more than all of itself."""
    ours = detectors.ours(canvas)
    threshold = float(ours[200, 4])
    theirs = detectors.opencv(canvas, threshold, 1.0)
    kept = ours[ours[:, 4] >= threshold]
    assert len(theirs) >= 100
    assert abs(len(kept) - len(theirs)) <= 2  # at the threshold itself the last bit of a score decides
    for candidate in theirs[theirs[:, 4] > threshold + 1e-3]:
        apart = np.abs(kept - candidate)
        assert ((apart[:, 4] <= 1e-3) & (np.delete(apart, 4, axis=1) <= 0.5).all(axis=1)).any()


def whole(candidates: Floats) -> Floats:
    """With left, top, width and height of the boxes cut to whole pixels, as OpenCV does before it suppresses."""
    corner, sides = np.trunc(candidates[:, :2]), np.trunc(candidates[:, 2:4] - candidates[:, :2])
    return np.concatenate([corner, corner + sides, candidates[:, 4:]], axis=1).astype(np.float32)


def faces_of(candidates: Floats, view: View, spec: DetectorSpec) -> list[Face]:
    looks = [read_candidates(candidates, view, score_threshold=spec.score_threshold)]
    return read_faces(suppress(looks, iou_threshold=spec.iou_threshold), width=view.width, height=view.height)


def test_the_faces_are_opencv_s(detectors: Detectors, canvas: Pixels) -> None:
    """What is left after suppression; cut at the border and without what lies beyond it, which OpenCV leaves."""
    spec = YUNET.detector
    assert spec is not None
    ours = detectors.ours(canvas)
    theirs = detectors.opencv(canvas, spec.score_threshold, spec.iou_threshold)
    if not detectors.real:
        # The stand-in's boxes are thin: half a pixel decides which of them suppresses which.
        ours, theirs = whole(ours), whole(theirs)
    faces = faces_of(ours, View(1, 1, 0, 0, SIDE, SIDE, SIDE), spec)
    boxes = theirs[:, :4].clip(0, SIDE)
    inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    assert len(faces) == inside.sum() > 0
    for face, box, row in zip(faces, boxes[inside], theirs[inside], strict=True):
        assert np.abs(np.array([face.left, face.top, face.right, face.bottom]) - box).max() <= 0.5
        assert abs(face.confidence - row[4]) <= 1e-3
        assert np.abs(face.landmarks.ravel() - row[5:]).max() <= 0.5


def test_the_real_weights_find_each_of_the_people_once(detectors: Detectors, astronaut: Pixels, cat: Pixels) -> None:
    if not detectors.real:
        pytest.skip("the stand-in finds no faces: run pytest --original-models DIR")
    spec = YUNET.detector
    assert spec is not None
    for pixels, people in ((astronaut, 1), (cat, 0)):
        height, width = pixels.shape[:2]
        canvas, view = letterbox(Picture(pixels, width, height), SIDE)
        assert len(faces_of(detectors.ours(canvas), view, spec)) == people
