"""The real starter models, from the store that serving uses: `facebento models pull` puts them there."""

from collections.abc import Callable, Iterable

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx.utils import Extractor

from faces.alignment import letterbox
from faces.detection import read_candidates, read_faces, suppress
from faces.image import Picture
from models import store
from models.catalog import describe
from tests.models.sessions import session_of

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Decode = Callable[[Floats, Floats, Floats, Floats], Floats]


@pytest.fixture(scope="module")
def detector() -> onnxruntime.InferenceSession:
    return session_of(store.find("centerface").path.read_bytes())


@pytest.fixture(scope="module")
def embedder() -> onnxruntime.InferenceSession:
    return session_of(store.find("dlib-resnet-v1").path.read_bytes())


@pytest.fixture(scope="module")
def astronaut_canvas(astronaut: Pixels) -> Pixels:
    return letterbox(whole(astronaut), 640)[0]


@pytest.fixture(scope="module")
def hopper_canvas(grace_hopper: Pixels) -> Pixels:
    return letterbox(whole(grace_hopper), 640)[0]


def whole(pixels: Pixels) -> Picture:
    return Picture(np.ascontiguousarray(pixels), pixels.shape[1], pixels.shape[0])


def detect(detector: onnxruntime.InferenceSession, canvases: Pixels) -> Floats:
    candidates: Floats = detector.run(["candidates"], {"canvases": canvases})[0]
    return candidates


def embed(embedder: onnxruntime.InferenceSession, crops: Pixels) -> Floats:
    embeddings: Floats = embedder.run(["embeddings"], {"crops": crops})[0]
    return embeddings


def aligned(detector: onnxruntime.InferenceSession, picture: Pixels) -> Pixels:
    """The best face, warped on to the embedder's template by the similarity of least squares."""
    spec = describe("dlib-resnet-v1").embedder
    assert spec is not None
    marks = detect(detector, picture[None])[0, 0, 5:].reshape(5, 2)
    # x' = a x - b y + c and y' = b x + a y + d, one pair of equations for each landmark.
    rows = [row for x, y in marks for row in ([x, -y, 1, 0], [y, x, 0, 1])]
    a, b, c, d = np.linalg.lstsq(np.array(rows), np.array(spec.template).ravel())[0]
    return cv2.warpAffine(picture, np.array([[a, -b, c], [b, a, d]]), (150, 150)).astype(np.uint8)


def variants(picture: Pixels) -> Iterable[Pixels]:
    yield picture
    yield np.ascontiguousarray(picture[:, ::-1])
    yield (picture * 0.6).astype(np.uint8)
    yield cv2.resize(cv2.resize(picture, (320, 320)), (640, 640)).astype(np.uint8)


def test_the_astronaut_is_found(detector: onnxruntime.InferenceSession, astronaut_canvas: Pixels) -> None:
    best, second = detect(detector, astronaut_canvas[None])[0][:2]
    left, top, right, bottom, score = best[:5]
    assert score > 0.5 > second[4]
    np.testing.assert_allclose([left, top, right, bottom], [225, 77, 339, 223], atol=15)
    left_eye, right_eye, nose, left_mouth, right_mouth = best[5:].reshape(5, 2)
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert left_eye[1] < nose[1] < left_mouth[1]


def test_a_cat_is_no_face(detector: onnxruntime.InferenceSession, cat: Pixels) -> None:
    canvas, _ = letterbox(whole(cat), 640)
    assert detect(detector, canvas[None])[0, 0, 4] < 0.5


def test_candidates_fall_by_score(detector: onnxruntime.InferenceSession, astronaut_canvas: Pixels) -> None:
    candidates = detect(detector, astronaut_canvas[None])
    assert candidates.shape == (1, 1024, 15)
    assert (np.diff(candidates[0, :, 4]) <= 0).all()


@pytest.fixture(scope="module", params=["one", "other", "both", "cat", "few pixels", "far away", "filling the frame"])
def scene(request: pytest.FixtureRequest, astronaut: Pixels, grace_hopper: Pixels, cat: Pixels) -> Picture:
    match request.param:
        case "one":
            pixels = astronaut
        case "other":
            pixels = grace_hopper
        case "both":
            pixels = np.hstack([astronaut, grace_hopper[:512]])
        case "cat":
            pixels = cat
        case "few pixels":
            pixels = cv2.resize(astronaut, (128, 128), interpolation=cv2.INTER_AREA).astype(np.uint8)
        case "far away":
            pixels = np.full((2000, 1500, 3), 128, np.uint8)
            pixels[700:1300, 500:1012] = grace_hopper
            pixels[100:612, 900:1412] = astronaut
        case _:
            pixels = grace_hopper[110:350, 160:370]
    return whole(pixels)


@pytest.fixture(scope="module")
def network() -> onnxruntime.InferenceSession:
    """CenterFace without the decoding behind it."""
    prepared = onnx.load(store.find("centerface").path)
    heads = [f"network/{name}" for name in ("537", "538", "539", "540")]
    return session_of(Extractor(prepared).extract_model(["canvases"], heads).SerializeToString())


def suppressed(rows: Floats, iou_threshold: float) -> Floats:
    """Greedy non-maximum suppression of rows by falling score."""
    kept: list[Floats] = []
    for row in rows:
        overlaps = []
        for better in kept:
            shared = (np.minimum(row[2:4], better[2:4]) - np.maximum(row[:2], better[:2])).clip(0).prod()
            areas = [(each[2:4] - each[:2]).prod() for each in (row, better)]
            overlaps.append(shared / (sum(areas) - shared))
        if not any(overlap > iou_threshold for overlap in overlaps):
            kept.append(row)
    return np.array(kept)


def test_faces_are_those_of_the_network_decoded_in_numpy(
    detector: onnxruntime.InferenceSession,
    network: onnxruntime.InferenceSession,
    scene: Picture,
    decode_centerface: Decode,
) -> None:
    """From the canvas on. Far below the threshold that is served, there is more to compare and to suppress."""
    threshold = 0.005
    canvas, view = letterbox(scene, 640)
    heads = network.run(None, {"canvases": canvas[None]})
    expected = decode_centerface(*(head[0] for head in heads))
    expected = expected[expected[:, 4] > threshold]
    [candidates] = detect(detector, canvas[None])
    found = candidates[candidates[:, 4] > threshold]
    np.testing.assert_allclose(found[:, 4], expected[:, 4], rtol=0, atol=1e-3)
    # Half a pixel of the canvas; they differ by less than 1e-4, the rounding of float32.
    np.testing.assert_allclose(np.delete(found, 4, axis=1), np.delete(expected, 4, axis=1), rtol=0, atol=0.5)

    best = suppressed(expected, 0.3)
    assert 50 < len(best) < len(expected)
    height, width = scene.pixels.shape[:2]
    scale = max(height, width) / 640
    places = np.delete(best, 4, axis=1).reshape(-1, 7, 2) * scale
    corners = places[:, :2].clip(0, (width, height))
    inside = (corners[:, 1] > corners[:, 0]).all(axis=1)
    kept = suppress([read_candidates(candidates, view, score_threshold=threshold)], iou_threshold=0.3)
    faces = read_faces(kept, width=width, height=height)
    boxes = np.array([[each.left, each.top, each.right, each.bottom] for each in faces])
    np.testing.assert_allclose([each.confidence for each in faces], best[inside, 4], rtol=0, atol=1e-3)
    # The shorter side is rounded to whole pixels of the canvas, and places are told by the scale that it really has.
    np.testing.assert_allclose(boxes, corners[inside].reshape(-1, 4), rtol=0, atol=0.5 * scale)
    landmarks = np.array([each.landmarks for each in faces])
    np.testing.assert_allclose(landmarks, places[inside, 2:], rtol=0, atol=0.5 * scale)


def test_every_row_of_a_batch_of_canvases_equals_the_row_alone(
    detector: onnxruntime.InferenceSession, astronaut_canvas: Pixels, hopper_canvas: Pixels
) -> None:
    rows = np.stack([astronaut_canvas, hopper_canvas, astronaut_canvas[:, ::-1]])
    for together, row in zip(detect(detector, rows), rows, strict=True):
        np.testing.assert_allclose(together[0], detect(detector, row[None])[0, 0], atol=0.1)


def test_every_row_of_a_batch_of_crops_equals_the_row_alone(embedder: onnxruntime.InferenceSession) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (5, 150, 150, 3), np.uint8)
    together = embed(embedder, crops)
    assert together.shape == (5, 128)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone = np.concatenate([embed(embedder, crop[None]) for crop in crops])
    assert ((together * alone).sum(axis=1) >= 0.9999).all()


def test_one_person_is_alike_and_two_are_not(
    detector: onnxruntime.InferenceSession,
    embedder: onnxruntime.InferenceSession,
    astronaut_canvas: Pixels,
    hopper_canvas: Pixels,
) -> None:
    spec = describe("dlib-resnet-v1").embedder
    assert spec is not None
    crops = [
        aligned(detector, variant) for picture in (astronaut_canvas, hopper_canvas) for variant in variants(picture)
    ]
    embeddings = embed(embedder, np.stack(crops))
    cosines = embeddings @ embeddings.T
    assert cosines[:4, :4].min() > spec.score.cosine
    assert cosines[4:, 4:].min() > spec.score.cosine
    assert cosines[:4, 4:].max() < spec.score.cosine
