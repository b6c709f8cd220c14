"""The real starter models, from the store that serving uses: `facebento models pull` puts them there."""

from collections.abc import Callable, Iterable

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import skimage.data
from matplotlib import cbook
from onnx import helper
from PIL import Image

from models import store
from models.catalog import describe

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Decode = Callable[[Floats, Floats, Floats, Floats], Floats]


@pytest.fixture(scope="module")
def detector() -> onnxruntime.InferenceSession:
    return session(store.find("centerface").path.read_bytes())


@pytest.fixture(scope="module")
def embedder() -> onnxruntime.InferenceSession:
    return session(store.find("dlib-resnet-v1").path.read_bytes())


@pytest.fixture(scope="module")
def astronaut() -> Pixels:
    return canvas(skimage.data.astronaut())  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def hopper() -> Pixels:
    with Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as image:
        return canvas(np.asarray(image.convert("RGB")))


def session(graph: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


def canvas(image: Pixels) -> Pixels:
    """The picture in the top left corner of a black 640 x 640 canvas."""
    scale = 640 / max(image.shape[:2])
    resized = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    filled = np.zeros((640, 640, 3), np.uint8)
    filled[: resized.shape[0], : resized.shape[1]] = resized
    return filled


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


def test_the_astronaut_is_found(detector: onnxruntime.InferenceSession, astronaut: Pixels) -> None:
    best, second = detect(detector, astronaut[None])[0][:2]
    left, top, right, bottom, score = best[:5]
    assert score > 0.5 > second[4]
    np.testing.assert_allclose([left, top, right, bottom], [225, 77, 339, 223], atol=15)
    left_eye, right_eye, nose, left_mouth, right_mouth = best[5:].reshape(5, 2)
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert left_eye[1] < nose[1] < left_mouth[1]


def test_a_cat_is_no_face(detector: onnxruntime.InferenceSession) -> None:
    cat = canvas(skimage.data.chelsea())  # type: ignore[no-untyped-call]
    assert detect(detector, cat[None])[0, 0, 4] < 0.5


def test_candidates_fall_by_score(detector: onnxruntime.InferenceSession, astronaut: Pixels) -> None:
    candidates = detect(detector, astronaut[None])
    assert candidates.shape == (1, 1024, 15)
    assert (np.diff(candidates[0, :, 4]) <= 0).all()


def test_the_graph_decodes_its_heads_as_numpy_does(astronaut: Pixels, decode_centerface: Decode) -> None:
    graph = onnx.load(store.find("centerface").path)
    names = [f"network/{name}" for name in ("537", "538", "539", "540")]
    graph.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    candidates, *heads = session(graph.SerializeToString()).run(["candidates", *names], {"canvases": astronaut[None]})
    expected = decode_centerface(*(head[0] for head in heads))[:16]
    np.testing.assert_allclose(candidates[0, :16], expected, rtol=1e-4, atol=1e-2)


def test_every_row_of_a_batch_of_canvases_equals_the_row_alone(
    detector: onnxruntime.InferenceSession, astronaut: Pixels, hopper: Pixels
) -> None:
    rows = np.stack([astronaut, hopper, astronaut[:, ::-1]])
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
    astronaut: Pixels,
    hopper: Pixels,
) -> None:
    spec = describe("dlib-resnet-v1").embedder
    assert spec is not None
    crops = [aligned(detector, variant) for picture in (astronaut, hopper) for variant in variants(picture)]
    embeddings = embed(embedder, np.stack(crops))
    cosines = embeddings @ embeddings.T
    assert cosines[:4, :4].min() > spec.score.cosine
    assert cosines[4:, 4:].min() > spec.score.cosine
    assert cosines[:4, 4:].max() < spec.score.cosine
