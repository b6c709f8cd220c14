"""Exports for one image, made batchable: the rows of a batch against the export itself, which takes one at a time."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import helper, parser

from models.catalog import ModelDescription, describe
from models.check import check_batches
from models.errors import BatchMismatchError, GraphMismatchError
from models.prepare import prepare
from tests.models import references, stand_ins

Fields = dict[str, Any]
Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

ROWS = 2


def run(graph: bytes, names: Sequence[str] | None, rows: npt.NDArray[Any]) -> list[Floats]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # what is wrong with an export, it says at each run
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    answers: list[Floats] = session.run(names, {session.get_inputs()[0].name: rows})
    return answers


def seen_by(description: ModelDescription, row: Pixels) -> Floats:
    """What the network is given for a picture: float32 [1, 3, side, side]."""
    ordered = row if description.input.color == "RGB" else row[..., ::-1]
    scaled = (ordered - np.array(description.input.mean)) * np.array(description.input.scales)
    return np.asarray(scaled.transpose(2, 0, 1)[None], np.float32)


def pictures(side: int) -> Pixels:
    coarse = np.random.default_rng(side).integers(0, 256, (ROWS, side // 8, side // 8, 3), np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


RETINAFACE = {
    "id": "retinaface",
    "role": "detector",
    "summary": "of biubug6",
    "licence": "MIT",
    "sha256": "0" * 64,
    "format": "onnx",
    "input": {"size": 640, "color": "BGR", "mean": [104, 117, 123], "scale": 1},
    "detector": {
        "decoding": "retinaface",
        "outputs": ["loc", "conf", "landms"],
        "candidates": 2048,
        "score_threshold": 0.6,
        "iou_threshold": 0.4,
    },
}
DETECTORS: list[tuple[ModelDescription, Callable[[], bytes], Callable[[Sequence[Floats], int], Floats]]] = [
    (describe("yunet-2023mar"), stand_ins.yunet, references.yunet),
    (describe("scrfd-10g"), stand_ins.scrfd, references.scrfd),
    (ModelDescription.model_validate(RETINAFACE), stand_ins.retinaface, references.retinaface),
]


@pytest.mark.parametrize(("description", "export", "decode"), DETECTORS, ids=[each[0].id for each in DETECTORS])
def test_each_row_of_a_batch_is_what_the_export_for_one_image_answers(
    description: ModelDescription,
    export: Callable[[], bytes],
    decode: Callable[[Sequence[Floats], int], Floats],
) -> None:
    assert description.detector is not None
    source, rows = export(), pictures(640)
    [answers] = run(prepare(description, source).SerializeToString(), None, rows)
    for row, answer in zip(rows, answers, strict=True):
        heads = run(source, description.detector.outputs, seen_by(description, row))
        expected = decode([head.reshape(-1, head.shape[-1]) for head in heads], 640)[:64]
        for candidate in expected:
            # Neighbours that see the same have the same score, to the last bit or all but, and their order is open.
            alike = answer[np.abs(answer[:, 4] - candidate[4]) <= 1e-5]
            assert np.isclose(alike, candidate, rtol=1e-4, atol=0.05).all(axis=1).any()


@pytest.mark.parametrize("model_id", ["sface-2021dec", "arcface-w600k-r50"])
def test_each_embedding_of_a_batch_is_what_the_export_for_one_image_answers(model_id: str) -> None:
    description = describe(model_id)
    source, rows = stand_ins.STAND_INS[model_id](), pictures(112)
    [answers] = run(prepare(description, source).SerializeToString(), None, rows)
    for row, answer in zip(rows, answers, strict=True):
        [expected] = run(source, None, seen_by(description, row))[0]
        assert answer @ expected / np.linalg.norm(expected) > 0.99999


def test_the_exports_are_fixed_indeed() -> None:
    """So that the tests above show something."""
    for model_id in ("yunet-2023mar", "sface-2021dec", "scrfd-10g"):
        description = describe(model_id)
        image = seen_by(description, pictures(description.input.size)[0])
        with pytest.raises(Exception, match="Got: 2 Expected: 1"):
            run(stand_ins.STAND_INS[model_id](), None, np.concatenate([image, image]))


def embedder_of(text: str, opset: int = 17) -> bytes:
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> t {text}')
    source: bytes = model.SerializeToString()
    return source


FREED = {
    "fixed input, fixed shape": """(float[1,3,2,2] a) => (float[1,12] raw) <int64[2] s = {1, 12}>
        { raw = Reshape (a, s) }""",
    "shape as a node": """(float[1,3,2,2] a) => (float[1,12] raw)
        { s = Constant <value = int64[2] {1, -1}> () raw = Reshape (a, s) }""",
    "one shape after the other": """(float[n,3,2,2] a) => (float[1,12] raw)
        <int64[3] s = {1, 3, 4}, int64[2] t = {1, 12}>
        { b = Reshape (a, s) c = Relu (b) raw = Reshape (c, t) }""",
    "shape put together": """(float[n,3,2,2] a) => (float[m,12] raw) <int64[1] one = {1}, int64[1] rest = {-1}>
        { s = Concat <axis = 0> (one, rest) raw = Reshape (a, s) }""",
    "a zero that would be a zero": """(float[n,3,2,2] a) => (float[m,12] raw) <int64[2] s = {1, 12}>
        { raw = Reshape <allowzero = 1> (a, s) }""",
    "sizes that are told": """(float[1,3,2,2] a) => (float[1,12] raw) <int64[4] s = {1, 3, 4, 1}>
        { b = Resize <mode = "nearest"> (a, , , s) raw = Flatten (b) }""",
    "sizes put together": """(float[n,3,2,2] a) => (float[m,12] raw) <int64[2] first = {1, 3}, int64[2] rest = {4, 1}>
        { s = Concat <axis = 0> (first, rest) b = Resize <mode = "nearest"> (a, , , s) raw = Flatten (b) }""",
    "scaled and added": """(float[1,3,2,2] a) => (float[1,12] raw) <float[4] up = {1, 1, 1, 1}, int64[2] s = {1, 12}>
        { b = Resize <mode = "nearest"> (a, , up) c = Add (a, b) raw = Reshape (c, s) }""",
}


@pytest.mark.parametrize("text", FREED.values(), ids=FREED)
def test_the_one_image_is_taken_out(embedder: ModelDescription, text: str) -> None:
    source = embedder_of(text)
    prepared = prepare(embedder, source).SerializeToString()
    check_batches(prepared, largest=32)
    rows = np.random.default_rng(0).integers(0, 256, (ROWS, 2, 2, 3), np.uint8)
    [answers] = run(prepared, None, rows)
    for row, answer in zip(rows, answers, strict=True):
        [expected] = run(source, None, seen_by(embedder, row))[0]
        np.testing.assert_allclose(answer, expected / np.linalg.norm(expected), atol=1e-6)


# Where it can't be seen that a 1 is the number of images.
LEFT = {
    "the images are lost before": """(float[n,3,2,2] a) => (float[1,12] raw)
        <int64[1] axis = {0}, int64 zero = {0}, int64[2] s = {1, 12}>
        { b = Gather <axis = 0> (a, zero) raw = Reshape (b, s) }""",
    "images beside each other": """(float[n,3,2,2] a) => (float[1,12] raw)
        <int64[2] s = {1, -1}, int64[1] from = {0}, int64[1] to = {12}, int64[1] axis = {1}>
        { b = Concat <axis = 0> (a, a) c = Reshape (b, s) raw = Slice (c, from, to, axis) }""",
}


@pytest.mark.parametrize("text", LEFT.values(), ids=LEFT)
def test_what_can_not_be_proved_is_left_and_refused(embedder: ModelDescription, text: str) -> None:
    with pytest.raises((GraphMismatchError, BatchMismatchError), match="free batch"):
        check_batches(prepare(embedder, embedder_of(text)).SerializeToString())


def test_merged_rows_that_are_compared_with_each_other_are_left_and_refused() -> None:
    model = onnx.load_from_string(stand_ins.scrfd())
    [sigmoid] = [node for node in model.graph.node if node.output[0] == "448"]
    sigmoid.op_type = "Softmax"
    sigmoid.attribute.append(helper.make_attribute("axis", 0))
    with pytest.raises(GraphMismatchError, match=r"'448' to be \[free, 12800, 1\], found \[free, 1\]"):
        prepare(describe("scrfd-10g"), model.SerializeToString())
