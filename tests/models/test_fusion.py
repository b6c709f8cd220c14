"""Rewritten networks against the same ones as they were."""

from collections import Counter

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper, parser

from models.fusion import fused, take_pixels_as_rows

Floats = npt.NDArray[np.float32]


def network(body: str, gives: str, weights: dict[str, tuple[int, ...]], *, side: int = 12) -> onnx.ModelProto:
    """It takes float32 [n, 3, side, side]. `gives` is in ONNX's text form."""
    random = np.random.default_rng(0)
    model = parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 18]>
        tiny (float[n, 3, {side}, {side}] image) => ({gives}) {{ {body} }}
    """)
    model.graph.initializer.extend(
        numpy_helper.from_array(random.normal(0, 0.3, shape).astype(np.float32), name)
        for name, shape in weights.items()
    )
    return model


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def run(model: onnx.ModelProto, image: Floats) -> list[Floats]:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answers: list[Floats] = session.run(None, {session.get_inputs()[0].name: image})
    return answers


def kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def rewritten(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network in fewer steps, after a look whether it answers the same."""
    images = np.random.default_rng(1).normal(size=(2, 3, 12, 12)).astype(np.float32)
    new = fused(copied(model))
    for before, after in zip(run(model, images), run(new, images), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)
    return new


CHAIN = "a = Conv <{first}> (image, w1, b1) y = Conv <{second}> (a, w2, b2)"
CHAIN_WEIGHTS: dict[str, tuple[int, ...]] = {"w1": (64, 3, 3, 3), "b1": (64,), "w2": (8, 64, 1, 1), "b2": (8,)}
NARROW: dict[str, tuple[int, ...]] = {"w1": (2, 3, 3, 3), "b1": (2,), "w2": (8, 2, 1, 1)}
WIDE = "strides = [2, 1], pads = [1, 0, 2, 1]"


def test_two_convolutions_in_a_row_become_one() -> None:
    model = network(CHAIN.format(first=WIDE, second="strides = [1, 1]"), "float[n, c, h, w] y", CHAIN_WEIGHTS)
    assert kinds(rewritten(model)) == {"Conv": 1}


def test_biases_may_be_missing() -> None:
    model = network("a = Conv (image, w1) y = Conv (a, w2)", "float[n, c, h, w] y", CHAIN_WEIGHTS)
    assert kinds(rewritten(model)) == {"Conv": 1}


@pytest.mark.parametrize(
    ("body", "gives", "weights"),
    [
        pytest.param(CHAIN.format(first=WIDE, second="strides = [2, 2]"), "y", {}, id="strided"),
        pytest.param(CHAIN.format(first=WIDE, second="pads = [1, 1, 1, 1]"), "y", {}, id="padded"),
        pytest.param(CHAIN.format(first=WIDE, second="group = 2"), "y", {"w2": (8, 32, 1, 1)}, id="in groups"),
        pytest.param(CHAIN.format(first=WIDE, second="dilations = [1, 1]"), "y", {"w2": (8, 64, 2, 2)}, id="larger"),
        pytest.param(CHAIN.format(first='auto_pad = "SAME_UPPER"', second=""), "y", {}, id="padded by itself"),
        pytest.param(CHAIN.format(first=WIDE, second=""), "y", NARROW, id="more to multiply"),
        pytest.param(CHAIN.format(first=WIDE, second=""), "a, y", {}, id="wanted between"),
        pytest.param(CHAIN.format(first=WIDE, second="") + " z = Relu (a)", "y, z", {}, id="used between"),
        pytest.param("a = Conv (image, w1, b1) r = Relu (a) y = Conv (r, w2, b2)", "y", {}, id="something between"),
        pytest.param("a = Conv (image, w1, b1) s = Identity (w2) y = Conv (a, s, b2)", "y", {}, id="unknown weights"),
    ],
)  # fmt: skip
def test_a_row_that_can_not_become_one_stays(body: str, gives: str, weights: dict[str, tuple[int, ...]]) -> None:
    body = body.replace("<>", "")
    outputs = ", ".join(f"float[n, c_{name}, h_{name}, w_{name}] {name}" for name in gives.split(", "))
    model = network(body, outputs, CHAIN_WEIGHTS | weights)
    assert kinds(rewritten(model))["Conv"] == 2


def test_what_a_branch_reads_is_kept() -> None:
    """The graph around it does not show who else takes a value."""
    body = (
        CHAIN.format(first=WIDE, second="strides = [1, 1]")
        + """
        z = If (condition) <then_branch = yes () => (float[n, c, h, w] t) { t = Identity (a) },
                            else_branch = no () => (float[n, c, h, w] e) { e = Neg (a) }>
    """
    )
    model = network(body, "float[n, c, h, w] y, float[n, d, k, l] z", CHAIN_WEIGHTS)
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "condition"))
    assert kinds(rewritten(model))["Conv"] == 2


HEADS = "a = Conv (image, wa, ba) b = Conv (image, wb) c = Conv (image, wc, bc)"
HEAD_WEIGHTS: dict[str, tuple[int, ...]] = {
    "wa": (1, 3, 3, 3), "ba": (1,), "wb": (4, 3, 3, 3), "wc": (10, 3, 3, 3), "bc": (10,)
}  # fmt: skip
FULL: dict[str, tuple[int, ...]] = {
    "wa": (16, 3, 3, 3), "ba": (16,), "wb": (32, 3, 3, 3), "wc": (16, 3, 3, 3), "bc": (16,)
}  # fmt: skip
IN_OTHER_STEPS = """
    a = Conv (image, wa, ba) b = Conv <strides = [2, 2]> (image, wb) c = Conv <pads = [1, 1, 1, 1]> (image, wc, bc)
"""
THREE = ", ".join(f"float[n, c_{name}, h_{name}, w_{name}] {name}" for name in "abc")


def test_heads_become_one_that_is_split() -> None:
    assert kinds(rewritten(network(HEADS, THREE, HEAD_WEIGHTS))) == {"Conv": 1, "Split": 1}


def test_what_takes_each_channel_of_heads_alone_becomes_one_too() -> None:
    """As YuNet's heads do."""
    body = (
        HEADS
        + """
        p = Conv <pads = [1, 1, 1, 1]> (a, va) q = Conv <group = 4, pads = [1, 1, 1, 1]> (b, vb)
        r = Conv <group = 10, pads = [1, 1, 1, 1]> (c, vc, dc) s = Sigmoid (p)
    """
    )
    outputs = THREE.replace(" a", " s").replace(" b", " q").replace("] c", "] r")
    more = {"va": (1, 1, 3, 3), "vb": (4, 1, 3, 3), "vc": (10, 1, 3, 3), "dc": (10,)}
    new = rewritten(network(body, outputs, HEAD_WEIGHTS | more))
    assert kinds(new) == {"Conv": 2, "Split": 1, "Sigmoid": 1}


def test_heads_that_are_used_otherwise_stay_apart_behind() -> None:
    body = HEADS + " p = Conv (a, va) q = Conv <group = 4> (b, vb) r = Conv <group = 10, strides = [2, 2]> (c, vc)"
    outputs = THREE.replace(" a", " p").replace(" b", " q").replace("] c", "] r")
    more = {"va": (1, 1, 3, 3), "vb": (4, 1, 3, 3), "vc": (10, 1, 3, 3)}
    assert kinds(rewritten(network(body, outputs, HEAD_WEIGHTS | more))) == {"Conv": 4, "Split": 1}


@pytest.mark.parametrize(
    ("body", "weights"),
    [
        pytest.param(HEADS, FULL, id="full blocks"),
        pytest.param(HEADS, {"wb": (4, 3, 1, 1), "wc": (10, 3, 2, 2)}, id="of other sizes"),
        pytest.param(IN_OTHER_STEPS, {}, id="in other steps"),
    ],
)
def test_convolutions_that_are_no_heads_stay(body: str, weights: dict[str, tuple[int, ...]]) -> None:
    assert kinds(rewritten(network(body, THREE, HEAD_WEIGHTS | weights))) == {"Conv": 3}


def test_names_that_are_taken_already_are_left_alone() -> None:
    """Exports of TensorFlow call weights so."""
    model = network(HEADS, THREE, HEAD_WEIGHTS)
    taken = numpy_helper.from_array(np.ones((16, 3, 2, 2), np.float32), "a/together/weights")
    model.graph.initializer.append(taken)
    model.graph.node.append(helper.make_node("Conv", ["image", "a/together/weights"], ["y"]))
    model.graph.output.append(helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 16, 11, 11]))
    assert kinds(rewritten(model)) == {"Conv": 2, "Split": 1}


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize(
    "steps", ["", "<strides = [2, 3]>", "<pads = [0, 1, 2, 3]>", "<strides = [2, 2], pads = [1, 1, 1, 1]>"]
)
@pytest.mark.parametrize("shape", [(5, 3, 3, 3), (16, 3, 7, 2), (32, 3, 1, 1)])
def test_pixels_may_be_taken_as_they_lie(flipped: bool, steps: str, shape: tuple[int, ...]) -> None:
    model = network(f"y = Conv {steps} (image, w, b)", "float[n, c, h, w] y", {"w": shape, "b": shape[:1]})
    images = np.random.default_rng(1).integers(0, 256, (2, 12, 12, 3)).astype(np.float32)
    [expected] = run(model, np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    in_rows = copied(model)
    assert take_pixels_as_rows(in_rows, flipped=flipped)
    as_they_lie = images[..., ::-1] if flipped else images
    [found] = run(in_rows, as_they_lie.reshape(2, 1, 12, 36))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("y = Conv <dilations = [1, 2]> (image, w, b)", id="dilated"),
        pytest.param("""y = Conv <auto_pad = "SAME_LOWER"> (image, w, b)""", id="padded by itself"),
        pytest.param("y = Conv <group = 3> (image, v, u)", id="in groups"),
        pytest.param("a = Relu (image) y = Conv (a, w, b)", id="something before"),
        pytest.param("y = Conv (image, w, b) z = Relu (image)", id="used otherwise"),
    ],
)
def test_pixels_are_taken_apart_where_they_have_to_be(body: str) -> None:
    weights: dict[str, tuple[int, ...]] = {"w": (5, 3, 3, 3), "b": (5,), "v": (6, 1, 3, 3), "u": (6,)}
    model = network(body, "float[n, c, h, w] y", weights)
    before = model.SerializeToString()
    assert not take_pixels_as_rows(model, flipped=False)
    assert model.SerializeToString() == before
