"""Graphs in 16-bit floats against those in 32, as far as a CPU can tell, which computes in 32 bits."""

import sys
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models import check, half, store
from models.catalog import catalog
from models.half import drift, halve, only_around
from models.prepare import CORE
from tests.models import originals
from tests.models.sessions import session_of

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


def answers(graph: bytes, rows: Pixels) -> Floats:
    session = session_of(graph)
    found: Floats = session.run(None, {session.get_inputs()[0].name: rows})[0]
    return found


def rounded(graph: bytes) -> bytes:
    """The halved graph, with each value that its network computes rounded to 16 bits.

    onnxruntime leaves out the casts between nodes of which it has none for halves: on a CPU, of nearly all.
    """
    model = onnx.load_model_from_string(graph)
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        if not node.output[0].startswith(CORE):
            continue
        for place, name in enumerate(node.output):
            node.output[place] = f"{name} exact"
            nodes.append(helper.make_node("Cast", [f"{name} exact"], [f"{name} half"], to=TensorProto.FLOAT16))
            nodes.append(helper.make_node("Cast", [f"{name} half"], [name], to=TensorProto.FLOAT))
    model.graph.node.clear()
    model.graph.node.extend(nodes)
    for weights in model.graph.initializer:
        if weights.name.startswith(CORE) and weights.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(weights).astype(np.float16).astype(np.float32)
            weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    model.graph.value_info.clear()
    return bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def crops(astronaut: Pixels, grace_hopper: Pixels) -> Pixels:
    """Pieces of both photographs, 150 pixels wide: uint8 [8, 150, 150, 3]."""
    corners = [(30, 170), (0, 0), (60, 100), (300, 300)]
    return np.stack([each[y : y + 150, x : x + 150] for each in (astronaut, grace_hopper) for y, x in corners])


@pytest.mark.parametrize("as_a_gpu_does", [halve, rounded])
def test_embeddings_stay_comparable(as_a_gpu_does: Callable[[bytes], bytes], crops: Pixels) -> None:
    graph = store.find("dlib-resnet-v1").read()
    whole, halved = answers(graph, crops), answers(as_a_gpu_does(graph), crops)
    assert halved.dtype == np.float32
    assert not np.array_equal(whole, halved)
    assert (whole * halved).sum(axis=1).min() >= 0.999
    assert np.abs(np.linalg.norm(halved, axis=1) - 1).max() < 1e-5
    assert drift(whole, halved) == ""


@pytest.mark.parametrize("as_a_gpu_does", [halve, rounded])
def test_faces_stay_within_half_a_pixel(
    as_a_gpu_does: Callable[[bytes], bytes], astronaut: Pixels, grace_hopper: Pixels
) -> None:
    graph = store.find("centerface").read()
    canvases = np.zeros((2, 640, 640, 3), np.uint8)
    canvases[0, 100:612, 128:] = astronaut
    canvases[1, :600, :512] = grace_hopper
    whole, halved = answers(graph, canvases), answers(as_a_gpu_does(graph), canvases)
    assert not np.array_equal(whole, halved)
    faces = whole[:, 0, 4] > 0.5
    assert faces.all()
    assert np.abs(whole[:, 0] - halved[:, 0]).max() < 0.5
    assert np.abs(whole[:, 0, 4] - halved[:, 0, 4]).max() < 0.005
    assert drift(whole, halved) == ""


@pytest.mark.parametrize("model_id", catalog())
def test_every_model_of_the_catalog_can_be_halved(model_id: str) -> None:
    """By graphs of their kinds, whose network is in 16 bits from end to end and all else as it was."""
    description = catalog()[model_id]
    graph, _ = originals.graph(description, None)
    halved = halve(graph)
    whole, model = onnx.load_model_from_string(graph), onnx.load_model_from_string(halved)
    types = {weights.name: weights.data_type for weights in model.graph.initializer}
    assert {types[node.input[1]] for node in model.graph.node if node.op_type == "Conv"} == {TensorProto.FLOAT16}
    onnx.checker.check_model(model, full_check=True)
    assert [each.SerializeToString() for each in model.graph.input] == [
        each.SerializeToString() for each in whole.graph.input
    ]
    assert [each.SerializeToString() for each in model.graph.output] == [
        each.SerializeToString() for each in whole.graph.output
    ]
    around = [node.SerializeToString() for node in whole.graph.node if not node.output[0].startswith(CORE)]
    assert [each for each in around if each not in {node.SerializeToString() for node in model.graph.node}] == []
    shown = check.patterns(2, description.input.size)
    assert drift(answers(graph, shown), answers(halved, shown)) == ""


def test_the_converter_leaves_the_names_of_modules_as_they_were() -> None:
    assert not [path for path in sys.path if "onnxruntime" in path]
    assert "half" in dir(sys.modules["models"])
    assert half.__name__ == "models.half"


def test_what_is_no_prepared_graph_is_refused() -> None:
    identity = helper.make_node("Identity", ["a"], ["b"])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "ab"]
    model = helper.make_model(helper.make_graph([identity], "alone", ends[:1], ends[1:]))
    with pytest.raises(ValueError, match="no network"):
        halve(model.SerializeToString())


def test_a_value_that_several_nodes_take_in_32_bits_is_cast_once() -> None:
    """The converter has no Max and no Min of halves, and casts what they take to one name, for each of them."""
    nodes = [
        helper.make_node("Cast", ["rows"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Relu", ["pixels"], [f"{CORE}a"]),
        helper.make_node("Max", [f"{CORE}a", f"{CORE}w"], [f"{CORE}b"]),
        helper.make_node("Min", [f"{CORE}a", f"{CORE}w"], [f"{CORE}c"]),
        helper.make_node("Sub", [f"{CORE}b", f"{CORE}c"], ["out"]),
    ]
    rows = helper.make_tensor_value_info("rows", TensorProto.UINT8, ["n", 4])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 4])
    weights = numpy_helper.from_array(np.full(4, 100, np.float32), f"{CORE}w")
    model = helper.make_model(
        helper.make_graph(nodes, "two", [rows], [out], [weights]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    shown = np.array([[0, 90, 110, 255]], np.uint8)
    assert answers(halve(model.SerializeToString()), shown).tolist() == [[100, 10, 10, 155]]


def test_what_is_only_around_the_network_is_left_out_of_an_engine() -> None:
    found = only_around(store.find("centerface").read())
    assert {"TopK", "GatherElements", "Exp", "Mul"} <= found
    # One of them: the heads, which are one convolution, are split inside the network too.
    assert not found & {"Conv", "Relu", "Sigmoid", "Split"}


def embeddings(count: int) -> Floats:
    drawn = np.random.default_rng(0).normal(size=(count, 128)).astype(np.float32)
    found: Floats = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return found


def test_embeddings_that_turn_away_are_told() -> None:
    whole = embeddings(4)
    turned = whole.copy()
    turned[2] = whole[2] + 0.06 * whole[1]
    turned[2] /= np.linalg.norm(turned[2])
    assert drift(whole, whole) == ""
    assert "cosine of 0.99" in drift(whole, turned)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_answers_that_are_no_numbers_are_told(value: float) -> None:
    whole = embeddings(4)
    broken = whole.copy()
    broken[3, 5] = value
    assert "no numbers" in drift(whole, broken)


def test_other_candidates_are_told_and_the_same_in_another_order_are_not() -> None:
    random = np.random.default_rng(0)
    whole = random.uniform(0, 640, (2, 100, 15)).astype(np.float32)
    whole[..., 4] = np.linspace(0.9, 0.1, 100)
    assert drift(whole, whole[:, np.r_[3, 0, 2, 1, 4:100]]) == ""
    assert drift(whole, whole + np.where(np.arange(15) == 4, 0.01, 3).astype(np.float32)) == ""
    for column, by in ((4, 0.05), (0, 15), (14, 15)):
        moved = whole.copy()
        moved[1, 2, column] += by
        assert "others than the best" in drift(whole, moved)
