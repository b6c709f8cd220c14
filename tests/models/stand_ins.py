"""Graphs in the shape of published files, with random weights, for machines that do not have these files.

Each is exported for one image, as its original is: the number of images stands in its shapes. What is between input and
heads is small; the ends are as in the original, name by name.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
SCRFD_OUTPUTS = (("448", "471", "494"), ("451", "474", "497"), ("454", "477", "500"))

Values = npt.NDArray[Any]


class Network:
    """Nodes and weights as they are added; every node's first output is called by its number unless it has a name."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(seed)

    def add(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        output = name or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, values: Any, kind: type[np.generic] = np.float32) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def random(self, *shape: int, mean: float = 0.0, spread: float = 1.0) -> str:
        return self.constant(self._random.normal(mean, spread, shape))

    def convolution(
        self, value: str, inputs: int, outputs: int, kernel: int, *, bias: float = 0.0, gain: float = 1.0, **more: Any
    ) -> str:
        each = inputs // more.get("group", 1)
        weights = self.random(outputs, each, kernel, kernel, spread=gain / (each * kernel * kernel) ** 0.5)
        biases = self.random(outputs, mean=bias, spread=0.1)
        pads = more.pop("pads", [kernel // 2] * 4)
        return self.add("Conv", value, weights, biases, kernel_shape=[kernel, kernel], pads=pads, **more)

    def normalised(self, value: str, channels: int, name: str = "") -> str:
        gamma, beta = self.random(channels, mean=1, spread=0.1), self.random(channels, spread=0.1)
        mean, variance = self.random(channels, spread=0.1), self.constant(np.full(channels, 0.5))
        return self.add("BatchNormalization", value, gamma, beta, mean, variance, name=name)

    def model(
        self, image: str, shape: Sequence[int | str], outputs: Mapping[str, tuple[int, ...]], opset: int
    ) -> bytes:
        graph = helper.make_graph(
            self.nodes,
            "stand-in",
            [helper.make_tensor_value_info(image, TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, sides) for name, sides in outputs.items()],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=6)
        source: bytes = model.SerializeToString()
        return source


def _pyramid(net: Network, image: str, scale: float, enlarge: Callable[[str, str, int], str]) -> dict[int, str]:
    """Features with 8 channels at the three strides, each with what the coarser ones saw added to it."""
    small = net.add("Mul", image, net.constant(scale))
    patches = net.convolution(small, 3, 8, 8, strides=[8, 8], pads=[0, 0, 0, 0], gain=2)
    levels = {8: net.add("Relu", patches)}
    for stride in (16, 32):
        half = net.add("MaxPool", levels[stride // 2], kernel_shape=[2, 2], strides=[2, 2])
        levels[stride] = net.add("Relu", net.convolution(half, 8, 8, 3, gain=2))
    for stride in (16, 8):
        above = enlarge(levels[stride * 2], levels[stride], stride)
        levels[stride] = net.add("Add", levels[stride], above)
    return levels


def yunet() -> bytes:
    """As opencv_zoo's face_detection_yunet_2023mar.onnx: 1 x 3 x 640 x 640, shapes of the heads [1, -1, k]."""
    net = Network(seed=3)
    scales, none = net.constant([1, 1, 2, 2]), net.constant([])
    as_pytorch = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}

    def enlarge(value: str, _: str, __: int) -> str:
        return net.add("Resize", value, none, scales, **as_pytorch)

    levels = _pyramid(net, "input", 1 / 128, enlarge)
    outputs = {}
    for head, channels, bias in (("cls", 1, 0.0), ("obj", 1, 0.0), ("bbox", 4, 0.5), ("kps", 10, 0.0)):
        shape = net.constant([1, -1, channels], np.int64)
        for stride in STRIDES:
            name = f"{head}_{stride}"
            maps = net.convolution(levels[stride], 8, channels, 1, bias=bias, gain=0.3 if head == "bbox" else 1)
            rows = net.add("Transpose", maps, perm=[0, 2, 3, 1])
            if head in {"cls", "obj"}:
                net.add("Sigmoid", net.add("Reshape", rows, shape), name=name)
            else:
                net.add("Reshape", rows, shape, name=name)
            outputs[name] = (1, (640 // stride) ** 2, channels)
    return net.model("input", [1, 3, 640, 640], outputs, opset=11)


def scrfd() -> bytes:
    """As InsightFace's det_10g.onnx: 1 x 3 x ? x ?, no number of images in the heads, which are transposed to
    [h, w, image, channels] and flattened to [-1, k]; coarser features enlarged to the shape of the finer ones.
    """
    net = Network(seed=4)
    none = net.constant([])

    def enlarge(value: str, like: str, _: int) -> str:
        sides = [
            net.add("Unsqueeze", net.add("Gather", net.add("Shape", like), net.constant(axis, np.int64)), axes=[0])
            for axis in (2, 3)
        ]
        bounds = [net.constant([bound], np.int64) for bound in (0, 2, 0)]
        first = net.add("Slice", net.add("Shape", value), *bounds)
        sizes = net.add("Concat", first, net.add("Concat", *sides, axis=0), axis=0)
        return net.add("Resize", value, none, none, sizes, mode="nearest", nearest_mode="floor")

    levels = _pyramid(net, "input.1", 1, enlarge)
    outputs = {}
    for names, channels, bias in zip(SCRFD_OUTPUTS, (1, 4, 10), (0.0, 2.0, 0.0), strict=True):
        for name, stride in zip(names, STRIDES, strict=True):
            maps = net.convolution(levels[stride], 8, 2 * channels, 3, bias=bias)
            if channels == 4:
                maps = net.add("Mul", maps, net.constant(1.1))
            rows = net.add("Transpose", maps, perm=[2, 3, 0, 1])
            shape = net.constant([-1, channels], np.int64)
            if channels == 1:
                net.add("Sigmoid", net.add("Reshape", rows, shape), name=name)
            else:
                net.add("Reshape", rows, shape, name=name)
            outputs[name] = (2 * (640 // stride) ** 2, channels)
    return net.model("input.1", [1, 3, "?", "?"], outputs, opset=11)


def retinaface() -> bytes:
    """As biubug6's convert_to_onnx.py exports for 1 x 3 x 640 x 640: heads [1, -1, k], enlarged to sizes told."""
    net = Network(seed=5)
    none = net.constant([])

    def enlarge(value: str, _: str, stride: int) -> str:
        sizes = net.constant([1, 8, 640 // stride, 640 // stride], np.int64)
        return net.add("Resize", value, none, none, sizes, mode="nearest", nearest_mode="floor")

    levels = _pyramid(net, "input0", 1 / 128, enlarge)
    joined = {}
    for channels in (4, 2, 10):
        shape = net.constant([1, -1, channels], np.int64)
        heads = [net.convolution(levels[stride], 8, 2 * channels, 1, gain=0.5) for stride in STRIDES]
        rows = [net.add("Reshape", net.add("Transpose", head, perm=[0, 2, 3, 1]), shape) for head in heads]
        joined[channels] = rows
    net.add("Concat", *joined[4], axis=1, name="loc")
    net.add("Softmax", net.add("Concat", *joined[2], axis=1), axis=2, name="conf")
    net.add("Concat", *joined[10], axis=1, name="landms")
    anchors = sum(2 * (640 // stride) ** 2 for stride in STRIDES)
    outputs = {"loc": (1, anchors, 4), "conf": (1, anchors, 2), "landms": (1, anchors, 10)}
    return net.model("input0", [1, 3, 640, 640], outputs, opset=11)


def sface() -> bytes:
    """As opencv_zoo's face_recognition_sface_2021dec.onnx: MobileFaceNet out of MXNet, which subtracts and scales by
    itself; 1 x 3 x 112 x 112, 128 values.
    """
    net = Network(seed=6)
    value = net.add("Mul", net.add("Sub", "data", net.constant([127.5])), net.constant([0.0078125]))
    value = net.add("PRelu", net.normalised(net.convolution(value, 3, 8, 3, strides=[2, 2]), 8), net.random(8, 1, 1))
    value = net.normalised(net.convolution(value, 8, 8, 3, strides=[4, 4], group=8), 8)
    value = net.normalised(net.convolution(value, 8, 16, 1), 16)
    value = net.add("Reshape", value, net.constant([1, 16 * 14 * 14], np.int64))
    value = net.add("Gemm", value, net.random(128, 16 * 14 * 14, spread=0.02), net.random(128), transB=1)
    net.normalised(value, 128, name="fc1")
    return net.model("data", [1, 3, 112, 112], {"fc1": (1, 128)}, opset=9)


def arcface() -> bytes:
    """As InsightFace's w600k_r50.onnx: a residual network with PRelu; any number of images of 3 x 112 x 112, whose
    512 values are declared to be those of one.
    """
    net = Network(seed=7)
    value = net.add("PRelu", net.convolution("input.1", 3, 8, 3, strides=[2, 2]), net.random(8, 1, 1, spread=0.2))
    block = net.add("PRelu", net.convolution(net.normalised(value, 8), 8, 8, 3), net.random(8, 1, 1, spread=0.2))
    block = net.convolution(block, 8, 8, 3, strides=[4, 4])
    value = net.add("Add", block, net.convolution(value, 8, 8, 1, strides=[4, 4]))
    value = net.add("Flatten", net.normalised(value, 8), axis=1)
    value = net.add("Gemm", value, net.random(512, 8 * 14 * 14, spread=0.02), net.random(512, spread=0.1), transB=1)
    net.normalised(value, 512, name="683")
    return net.model("input.1", ["None", 3, 112, 112], {"683": (1, 512)}, opset=11)


# By the catalog's ids; the starter models are in the store of everyone who develops.
STAND_INS: dict[str, Callable[[], bytes]] = {
    "yunet-2023mar": yunet,
    "sface-2021dec": sface,
    "scrfd-10g": scrfd,
    "arcface-w600k-r50": arcface,
}
