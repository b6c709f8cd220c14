from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from models.catalog import ModelDescription
from models.check import check_batches
from models.errors import GraphMismatchError
from models.prepare import prepare

Fields = dict[str, Any]
Floats = npt.NDArray[np.float32]
Decode = Callable[[Floats, Floats, Floats, Floats], Floats]


def run(model: onnx.ModelProto, rows: npt.NDArray[np.uint8]) -> Floats:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answer: Floats = session.run(None, {session.get_inputs()[0].name: rows})[0]
    return answer


def text_model(text: str, opset: int = 17) -> bytes:
    source: bytes = parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> {text}').SerializeToString()
    return source


@pytest.mark.parametrize("color", ["RGB", "BGR"])
@pytest.mark.parametrize("mean", [[0, 0, 0], [122.782, 117.001, 104.298]])
@pytest.mark.parametrize("scale", [1, 1 / 127.5, [0.1, 0.2, 1e-7]])
def test_the_network_sees_what_its_description_says(
    embedder_fields: Fields, embedder_file: bytes, color: str, mean: list[float], scale: float | list[float]
) -> None:
    spec = {"size": 2, "color": color, "mean": mean, "scale": scale}
    description = ModelDescription.model_validate(embedder_fields | {"input": spec})
    crops = np.random.default_rng(0).integers(0, 256, (2, 2, 2, 3), np.uint8)
    answer = run(prepare(description, embedder_file), crops)

    ordered = crops if color == "RGB" else crops[..., ::-1]
    seen = ((ordered - np.array(mean)) * np.array(scale)).transpose(0, 3, 1, 2).reshape(2, 12)
    np.testing.assert_allclose(answer, seen / np.linalg.norm(seen, axis=1, keepdims=True), atol=1e-6)


def test_steps_that_change_nothing_are_left_out(embedder: ModelDescription, embedder_file: bytes) -> None:
    kinds = {node.op_type for node in prepare(embedder, embedder_file).graph.node}
    assert not kinds & {"Sub", "Mul", "Gather"}


def test_signature_of_a_prepared_embedder(embedder: ModelDescription, embedder_file: bytes) -> None:
    session = onnxruntime.InferenceSession(
        prepare(embedder, embedder_file).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    taken, given = session.get_inputs()[0], session.get_outputs()[0]
    assert (taken.name, taken.type, taken.shape) == ("crops", "tensor(uint8)", ["n", 2, 2, 3])
    assert (given.name, given.type, given.shape) == ("embeddings", "tensor(float)", ["n", 12])


def test_a_detector_of_an_old_opset_and_a_fixed_small_input_is_freed(
    detector: ModelDescription, detector_file: bytes, decode_centerface: Decode
) -> None:
    canvases = np.random.default_rng(2).integers(0, 256, (2, 64, 64, 3), np.uint8)
    prepared = prepare(detector, detector_file)
    answers = run(prepared, canvases)
    assert answers.shape == (2, 20, 15)

    weights = {
        each.name: numpy_helper.to_array(each) for each in onnx.load_from_string(detector_file).graph.initializer
    }
    # A convolution whose stride is its kernel is a product of patches and weights.
    patches = canvases.astype(np.float32).reshape(2, 16, 4, 16, 4, 3)
    for row, answer in enumerate(answers):
        heads = [
            np.einsum("yixjc,ocij->oyx", patches[row], weights[f"{name}.weight"])
            for name in ("heat", "size", "offset", "points")
        ]
        expected = decode_centerface(*heads)
        positive = expected[expected[:, 4] > 0][:20]
        np.testing.assert_allclose(answer[: len(positive)], positive, rtol=1e-3, atol=1e-3)


def test_counters_that_training_left_behind_are_dropped(detector: ModelDescription, detector_file: bytes) -> None:
    prepared = prepare(detector, detector_file)
    assert not [each.name for each in prepared.graph.initializer if "batches_tracked" in each.name]


def test_a_newer_opset_is_kept(embedder: ModelDescription) -> None:
    newer = text_model("tiny (float[n, 3, 2, 2] image) => (float[n, 12] raw) { raw = Flatten (image) }", opset=20)
    assert [each.version for each in prepare(embedder, newer).opset_import] == [20]


@pytest.mark.parametrize("source", [b"", b"not a model", b"<html>", bytes(100)])
def test_a_file_that_is_no_onnx_model_is_refused(embedder: ModelDescription, source: bytes) -> None:
    with pytest.raises(GraphMismatchError, match="not an ONNX model"):
        prepare(embedder, source)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "t (float[n,3,2,2] a, float[n,3,2,2] b) => (float[n,12] raw) { c = Add (a, b) raw = Flatten (c) }",
            "one input, found 2: a, b",
        ),
        (
            "t (float[n,1,2,2] a) => (float[n,4] raw) { raw = Flatten (a) }",
            r"\[n, 3, height, width\], found \[free, 1,",
        ),
        ("t (float[n,2,2,3] a) => (float[n,12] raw) { raw = Flatten (a) }", r"\[n, 3, height, width\], found"),
        ("t (float[n,12] a) => (float[n,12] raw) { raw = Identity (a) }", r"\[n, 3, height, width\], found"),
        ("t (float[n,3,4,4] a) => (float[n,48] raw) { raw = Flatten (a) }", "2 x 2 pixels as described"),
        ("t (uint8[n,3,2,2] a) => (uint8[n,12] raw) { raw = Flatten (a) }", "to be float32, found UINT8"),
        (
            "t (float[n,3,2,2] a) => (float[n,6] b, float[n,6] c) { f = Flatten (a) b, c = Split <axis=1> (f) }",
            "one output, found 2: b, c",
        ),
        ("t (float[n,3,2,2] a) => (float[n,3,2,2] raw) { raw = Identity (a) }", r"\[free, 12\], found \[free, 3, 2, 2"),
        (
            "t (float[n,3,2,2] a) => (float[1,12] raw) <int64 z={0}> { b = Gather (a, z) raw = Flatten <axis=0> (b) }",
            "fixed at 1 rows",
        ),
        ("t (float[n,3,2,2] a) => (float[n,12] raw) { raw = Wrong (a) }", "opset 17 to 18|does not work"),
    ],
)
def test_a_graph_that_does_not_fit_is_refused(embedder: ModelDescription, text: str, message: str) -> None:
    if "Split" in text:
        source = text_model(text.replace("<axis=1>", "<axis=1, num_outputs=2>"), opset=19)
    else:
        source = text_model(text)
    with pytest.raises(GraphMismatchError, match=message):
        prepare(embedder, source)


def test_another_number_of_dimensions_is_refused(embedder_fields: Fields, embedder_file: bytes) -> None:
    embedder_fields["embedder"]["dimensions"] = 128
    with pytest.raises(GraphMismatchError, match=r"to be \[free, 128\], found \[free, 12\]"):
        prepare(ModelDescription.model_validate(embedder_fields), embedder_file)


def test_a_missing_output_is_named(detector_fields: Fields, detector_file: bytes) -> None:
    detector_fields["detector"]["outputs"] = ["heat", "size", "offset", "landmarks"]
    with pytest.raises(GraphMismatchError, match=r"'landmarks', found heat, size, offset, points"):
        prepare(ModelDescription.model_validate(detector_fields), detector_file)


def test_outputs_in_the_wrong_order_are_noticed(detector_fields: Fields, detector_file: bytes) -> None:
    detector_fields["detector"]["outputs"] = ["size", "heat", "offset", "points"]
    with pytest.raises(GraphMismatchError, match=r"'size' to be \[free, 1, 16, 16\], found \[free, 2, 16, 16\]"):
        prepare(ModelDescription.model_validate(detector_fields), detector_file)


def test_too_few_outputs_are_refused(detector_fields: Fields, detector_file: bytes) -> None:
    detector_fields["detector"]["outputs"] = ["heat"]
    with pytest.raises(GraphMismatchError, match="takes 4 outputs"):
        prepare(ModelDescription.model_validate(detector_fields), detector_file)


def elsewhere(name: str) -> onnx.TensorProto:
    entry = onnx.StringStringEntryProto(key="location", value="w.bin")
    return onnx.TensorProto(
        name=name, data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL, external_data=[entry]
    )


def constant(**value: Any) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["w"], **value)


def in_a_branch(model: onnx.ModelProto) -> None:
    branch = helper.make_graph([], "branch", [], [], [elsewhere("w")])
    model.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch))


def in_a_function(model: onnx.ModelProto) -> None:
    body = [constant(value=elsewhere("w"))]
    model.functions.append(helper.make_function("own", "f", [], ["w"], body, [helper.make_opsetid("", 17)]))


ELSEWHERE = {
    "constant": lambda model: model.graph.node.append(constant(value=elsewhere("w"))),
    "sparse": lambda model: model.graph.sparse_initializer.append(
        onnx.SparseTensorProto(values=elsewhere("v"), indices=elsewhere("i"), dims=[1])
    ),
    "branch": in_a_branch,
    "function": in_a_function,
}


@pytest.mark.parametrize("put", ELSEWHERE.values(), ids=ELSEWHERE)
def test_weights_in_another_file_are_found_wherever_they_are_named(
    embedder: ModelDescription, embedder_file: bytes, put: Callable[[onnx.ModelProto], None]
) -> None:
    model = onnx.load_model_from_string(embedder_file)
    put(model)
    with pytest.raises(GraphMismatchError, match="separate file"):
        prepare(embedder, model.SerializeToString())


def test_another_domain_may_be_imported(embedder: ModelDescription) -> None:
    source = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
        t (float[n, 3, 2, 2] a) => (float[n, 12] raw) { raw = Flatten (a) }
    """).SerializeToString()
    check_batches(prepare(embedder, source).SerializeToString())


@pytest.mark.parametrize(
    "text",
    [
        '<ir_version: 8, opset_import: ["" : 99]> t (float[n,3,2,2] a) => (float[n,12] raw) { raw = Flatten (a) }',
        '<ir_version: 8, opset_import: ["x" : 1]> t (float[n,3,2,2] a) => (float[n,12] raw) { raw = Flatten (a) }',
        '<ir_version: 8, opset_import: ["" : 17]> t (float[n,3,2,2] a) => (float[n,12] raw) { raw = Reshape (a) }',
        '<ir_version: 8, opset_import: ["" : 17]> t (float[n,3,2,2] a) => (float[n,12] raw) { raw = Concat (a) }',
        '<ir_version: 8, opset_import: ["" : 17]> t (float[n,3,2,2] a) => (float[n,12] raw) { raw = Nothing (a) }',
    ],
)
def test_what_is_no_valid_graph_is_told_in_one_line(embedder: ModelDescription, text: str) -> None:
    source = onnx.parser.parse_model(text).SerializeToString()
    with pytest.raises(GraphMismatchError) as told:
        check_batches(prepare(embedder, source).SerializeToString())
    assert "\n" not in str(told.value)


def test_weights_in_another_file_are_refused(embedder: ModelDescription, embedder_file: bytes) -> None:
    model = onnx.load_from_string(embedder_file)
    outside = helper.make_tensor("outside", TensorProto.FLOAT, [1], [0.0])
    outside.data_location = TensorProto.EXTERNAL
    model.graph.initializer.append(outside)
    with pytest.raises(GraphMismatchError, match="separate file"):
        prepare(embedder, model.SerializeToString())
