"""Exports for one image, made batchable: the rows of a batch against the export itself, which takes one at a time."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper, parser

from models.catalog import ModelDescription, describe
from models.check import check_batches
from models.errors import BatchMismatchError, GraphMismatchError
from models.prepare import prepare, prepared, read
from models.single import check_one
from tests.models import references, stand_ins
from tests.models.sessions import session_of

Fields = dict[str, Any]
Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

ROWS = 2


def run(graph: bytes, names: Sequence[str] | None, rows: npt.NDArray[Any]) -> list[Floats]:
    session = session_of(graph)
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


@pytest.mark.parametrize("opset", [7, 8])
def test_weights_for_each_channel_are_read_as_such_whatever_an_old_export_says_of_them(opset: int) -> None:
    """MXNet's exports say that they were weights for each pixel (onnx/models, issue 156)."""
    description = describe("sface-2021dec")
    model = onnx.load_from_string(stand_ins.sface())
    model.opset_import[0].version = opset
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            node.attribute.append(helper.make_attribute("spatial", 0))
    rows = pictures(112)
    [expected] = run(prepare(description, stand_ins.sface()).SerializeToString(), None, rows)
    [answers] = run(prepare(description, model.SerializeToString()).SerializeToString(), None, rows)
    np.testing.assert_allclose(answers, expected, atol=1e-6)


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
    graph = prepare(embedder, source).SerializeToString()
    check_batches(graph, largest=32)
    rows = np.random.default_rng(0).integers(0, 256, (ROWS, 2, 2, 3), np.uint8)
    [answers] = run(graph, None, rows)
    for row, answer in zip(rows, answers, strict=True):
        [expected] = run(source, None, seen_by(embedder, row))[0]
        np.testing.assert_allclose(answer, expected / np.linalg.norm(expected), atol=1e-6)


@pytest.mark.parametrize("text", FREED.values(), ids=FREED)
def test_what_was_freed_answers_one_picture_as_the_export_does(embedder: ModelDescription, text: str) -> None:
    source = embedder_of(text)
    check_one(embedder, read(embedder, source), prepare(embedder, source))


# Where it can't be seen that a 1 is the number of images.
LEFT = {
    "the images are lost before": """(float[n,3,2,2] a) => (float[1,12] raw)
        <int64[1] axis = {0}, int64 zero = {0}, int64[2] s = {1, 12}>
        { b = Gather <axis = 0> (a, zero) raw = Reshape (b, s) }""",
    "images beside each other": """(float[n,3,2,2] a) => (float[1,12] raw)
        <int64[2] s = {1, -1}, int64[1] from = {0}, int64[1] to = {12}, int64[1] axis = {1}>
        { b = Concat <axis = 0> (a, a) c = Reshape (b, s) raw = Slice (c, from, to, axis) }""",
    "images beside each other, told from the end": """(float[n,3,2,2] a) => (float[1,12] raw)
        <int64[2] s = {1, -1}, int64[1] from = {0}, int64[1] to = {12}, int64[1] axis = {1}>
        { b = Concat <axis = -4> (a, a) c = Reshape (b, s) raw = Slice (c, from, to, axis) }""",
    "as many images again": """(float[n,3,2,2] a) => (float[1,12] raw) <float[4] up = {2, 1, 1, 1},
        int64[2] s = {1, -1}, int64[1] from = {0}, int64[1] to = {12}, int64[1] axis = {1}>
        { b = Resize <mode = "nearest"> (a, , up) c = Reshape (b, s) raw = Slice (c, from, to, axis) }""",
    "more channels": """(float[n,3,2,2] a) => (float[1,12] raw) <int64[4] s = {1, 6, 2, 1}>
        { b = Resize <mode = "nearest"> (a, , , s) raw = Flatten (b) }""",
    "a shape that is used for something else": """(float[n,3,2,2] a) => (float[m,12] raw)
        <int64[1] one = {1}, int64[1] rest = {12}>
        { s = Concat <axis = 0> (one, rest) b = Reshape (a, s) f = Cast <to = 1> (s)
          t = ReduceSum <keepdims = 0> (f) raw = Add (b, t) }""",
    "as many images again, counted as it runs": """(float[n,3,2,2] a) => (float[1,12] raw)
        <int64[3] rest = {3, 2, 2}, int64[2] s = {1, -1}, int64[1] from = {0}, int64[1] to = {12}, int64[1] axis = {1}>
        { k = Shape <start = 0, end = 1> (a) l = Add (k, k) t = Concat <axis = 0> (l, rest)
          b = Resize <mode = "nearest"> (a, , , t) c = Reshape (b, s) raw = Slice (c, from, to, axis) }""",
}


@pytest.mark.parametrize("text", LEFT.values(), ids=LEFT)
def test_what_can_not_be_proved_is_left_and_refused(embedder: ModelDescription, text: str) -> None:
    with pytest.raises((GraphMismatchError, BatchMismatchError), match="free batch"):
        check_batches(prepare(embedder, embedder_of(text)).SerializeToString())


# Two views of a picture that are weighed against each other, joined along the images, as test-time augmentation is.
VIEWS = """(float[1,3,2,2] a) => (float[1,12] raw)
    <int64[2] one = {{1, -1}}, int64[2] two = {{-1, 12}}, float part = {{0.005}}>
    {{ v = Flatten (a) f = Mul (v, part) g = Sqrt (f) c = Concat <axis = {axis}> (f, g) d = Reshape (c, one)
      e = Softmax <axis = -1> (d) h = Reshape (e, two) i = Mul (h, c) k, l = Split <axis = 0, num_outputs = 2> (i)
      raw = Add (k, l) }}"""


@pytest.mark.parametrize("axis", [0, -2])
def test_views_that_are_joined_along_the_images_are_left(embedder: ModelDescription, axis: int) -> None:
    raw = read(embedder, embedder_of(VIEWS.format(axis=axis), opset=18))
    check_one(embedder, raw, prepared(embedder, raw))


def test_a_rewrite_that_changes_the_answer_for_one_picture_is_refused(
    embedder: ModelDescription, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = read(embedder, embedder_of(VIEWS.format(axis=-2), opset=18))
    monkeypatch.setattr("models.rows.View._keeps_rows", lambda *_: True)
    wrong = prepared(embedder, raw)
    check_batches(wrong.SerializeToString())  # which sees nothing of it
    with pytest.raises(GraphMismatchError, match="gives another 'raw' for one picture than the file does"):
        check_one(embedder, raw, wrong)


@pytest.mark.parametrize("change", [{"mean": (0.0, 50.0, 0.0)}, {"color": "BGR"}, {"scale": 2.0}])
def test_another_input_than_described_is_refused(
    embedder: ModelDescription, embedder_file: bytes, change: Fields
) -> None:
    other = embedder.model_copy(update={"input": embedder.input.model_copy(update=change)})
    with pytest.raises(GraphMismatchError, match="gives another 'raw'"):
        check_one(embedder, read(embedder, embedder_file), prepare(other, embedder_file))


def test_a_file_for_ten_pictures_of_another_size_is_compared_at_the_described_one(
    detector: ModelDescription, detector_file: bytes
) -> None:
    raw = read(detector, detector_file)
    whole = prepared(detector, raw)
    check_one(detector, raw, whole)
    # The four heads are one convolution there, of which the last ten filters are the points'.
    [weights] = [each for each in whole.graph.initializer if each.dims[:1] == [15] and len(each.dims) == 4]
    weights.raw_data = weights.raw_data[: len(weights.raw_data) // 3] + bytes(len(weights.raw_data) // 3 * 2)
    with pytest.raises(GraphMismatchError, match="gives another 'points'"):
        check_one(detector, raw, whole)


def test_merged_rows_that_something_else_is_made_of_are_left_and_refused() -> None:
    model = onnx.load_from_string(stand_ins.scrfd())
    [reshape] = [node for node in model.graph.node if node.op_type == "Reshape" and node.output[0] == "451"]
    model.graph.node.append(helper.make_node("Identity", [reshape.input[0]], ["more"]))
    model.graph.output.append(helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, None))
    with pytest.raises(GraphMismatchError, match=r"'451' to be \[free, 12800, 4\]"):
        prepare(describe("scrfd-10g"), model.SerializeToString())


def test_merged_rows_that_are_compared_with_each_other_are_left_and_refused() -> None:
    model = onnx.load_from_string(stand_ins.scrfd())
    [sigmoid] = [node for node in model.graph.node if node.output[0] == "448"]
    sigmoid.op_type = "Softmax"
    sigmoid.attribute.append(helper.make_attribute("axis", 0))
    with pytest.raises(GraphMismatchError, match=r"'448' to be \[free, 12800, 1\], found \[free, 1\]"):
        prepare(describe("scrfd-10g"), model.SerializeToString())
