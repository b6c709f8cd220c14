"""dlib's face recognition ResNet: its weights file -> the same network as ONNX.

The file is dlib's own serialisation, input layer first: hyperparameters and parameter tensors of one layer after the
other, each layer opened by its name. The architecture is told in dlib's examples/dnn_face_recognition_ex.cpp, and a
network has no other; so only the parameters are read here, and their sizes are checked against it.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.errors import WeightsError
from models.network import OPSET

SIDE = 150
DIMENSIONS = 128
STEM = 32
# Residual blocks of two 3x3 convolutions, in order: how many, filters, stride of the first one.
GROUPS = ((3, 32, 1), (4, 64, 2), (3, 128, 2), (3, 256, 2), (1, 256, 2))

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Convolution:
    """Weights float32 [filters, channels, k, k] and biases [filters], the affine layer behind it folded in."""

    weights: Floats
    biases: Floats


@dataclass(frozen=True)
class Flow:
    """A value on its way through the network, float32 [n, channels, side, side], by its name in the graph."""

    value: str
    channels: int
    side: int


class Weights:
    """Reads the parameters of dlib's serialisation one after the other, never beyond its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def convolution(self, filters: int, channels: int, kernel: int) -> Convolution:
        """The next convolution and its affine layer: gamma * (w * x + b) + beta."""
        count = filters * channels * kernel * kernel
        values = self._tensor("con_4", (count + filters, 1))
        affine = self._tensor("affine_", (2 * filters, 1))
        gamma, beta = affine[:filters], affine[filters:]
        weights = values[:count].reshape(filters, channels, kernel, kernel) * gamma[:, None, None, None]
        return Convolution(weights, values[count:] * gamma + beta)

    def matrix(self, rows: int, columns: int) -> Floats:
        """The next fully connected layer, which has no biases: float32 [rows, columns]."""
        return self._tensor("fc_2", (rows, columns), preamble=(columns, rows)).reshape(rows, columns)

    def _tensor(self, layer: str, shape: tuple[int, int], preamble: tuple[int, ...] = ()) -> Floats:
        """The values of the tensor [*shape, 1, 1] that opens the next layer of that name, behind a few integers."""
        name = layer.encode()
        found = self._data.find(bytes((1, len(name))) + name, self._position)
        if found < 0:
            raise WeightsError(
                f"not the weights of dlib's face recognition ResNet, or truncated: no layer {layer!r} "
                f"after byte {self._position} of {len(self._data)}"
            )
        self._position = found + 2 + len(name)
        # 2 is the version of a tensor's serialisation.
        expected = [*preamble, 2, *shape, 1, 1]
        header = [self._integer() for _ in expected]
        if header != expected:
            raise WeightsError(
                f"not the weights of dlib's face recognition ResNet: the layer {layer!r} at byte {found} "
                f"begins with {header}, expected {expected}"
            )
        values = np.frombuffer(self._bytes(4 * shape[0] * shape[1]), "<f4").astype(np.float32)
        if not np.isfinite(values).all():
            raise WeightsError(f"damaged weights: the layer {layer!r} at byte {found} holds values that are not finite")
        return values

    def _integer(self) -> int:
        """A byte with the length in its low four bits and 0x80 for a negative one, then that many bytes."""
        head = self._bytes(1)[0]
        magnitude = int.from_bytes(self._bytes(head & 0x0F), "little")
        return -magnitude if head & 0x80 else magnitude

    def _bytes(self, count: int) -> bytes:
        end = self._position + count
        if end > len(self._data):
            raise WeightsError(
                f"truncated weights: {len(self._data)} bytes, and the tensor at byte {self._position} ends at {end}"
            )
        read = self._data[self._position : end]
        self._position = end
        return read


def network(data: bytes) -> onnx.ModelProto:
    """The network as ONNX: image float32 [n, 3, 150, 150] -> raw float32 [n, 128], not normalised.

    WeightsError for bytes that are something else or end early.
    """
    graph = _Graph()
    weights = Weights(data)
    value = graph.convolution("image", weights.convolution(STEM, 3, 7), stride=2)
    value = graph.node("Relu", value)
    value = graph.node("MaxPool", value, kernel_shape=[3, 3], strides=[2, 2])
    flow = Flow(value, STEM, _halved(_halved(SIDE, 7), 3))
    for filters, stride in _blocks():
        flow = _block(graph, weights, flow, filters, stride)
    value = graph.node("GlobalAveragePool", flow.value)
    value = graph.node("Flatten", value)
    graph.node("MatMul", value, graph.weights(weights.matrix(flow.channels, DIMENSIONS)), to="raw")
    return graph.model()


def _blocks() -> Iterator[tuple[int, int]]:
    """Filters and stride of every residual block."""
    for count, filters, stride in GROUPS:
        yield filters, stride
        yield from itertools.repeat((filters, 1), count - 1)


def _block(graph: "_Graph", weights: Weights, flow: Flow, filters: int, stride: int) -> Flow:
    """relu(main + skip), the skip of a strided block being a 2x2 average pool.

    dlib adds tensors of different sizes as if the smaller one went on in zeros, in channels, rows and columns.
    """
    # The file holds the layers in the order of the data.
    value = graph.convolution(flow.value, weights.convolution(filters, flow.channels, 3), stride)
    value = graph.node("Relu", value)
    value = graph.convolution(value, weights.convolution(filters, filters, 3), stride=1)
    if stride == 1:
        return Flow(graph.node("Relu", graph.node("Add", value, flow.value)), filters, flow.side)
    pooled = graph.node("AveragePool", flow.value, kernel_shape=[2, 2], strides=[2, 2])
    main = Flow(value, filters, _halved(flow.side, 3))
    skip = Flow(pooled, flow.channels, _halved(flow.side, 2))
    channels, side = max(main.channels, skip.channels), max(main.side, skip.side)
    total = graph.node("Add", graph.padded(main, channels, side), graph.padded(skip, channels, side))
    return Flow(graph.node("Relu", total), channels, side)


def _halved(side: int, kernel: int) -> int:
    """The side after a kernel with stride 2, for which dlib pads nothing."""
    return (side - kernel) // 2 + 1


class _Graph:
    """Collects nodes and weights under running names; every method answers the name of its result."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def node(self, kind: str, *inputs: str, to: str | None = None, **attributes: Any) -> str:
        output = to or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def weights(self, values: npt.NDArray[np.float32] | npt.NDArray[np.int64]) -> str:
        name = f"weights_{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(values, name))
        return name

    def convolution(self, value: str, layer: Convolution, stride: int) -> str:
        # dlib pads half the kernel at stride 1 and nothing at any other.
        kernel = layer.weights.shape[-1]
        margin = kernel // 2 if stride == 1 else 0
        return self.node(
            "Conv", value, self.weights(layer.weights), self.weights(layer.biases),
            kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[margin] * 4,
        )  # fmt: skip

    def padded(self, flow: Flow, channels: int, side: int) -> str:
        """Zeros at the end of channels, rows and columns, up to the sizes given."""
        more = (channels - flow.channels, side - flow.side)
        if not any(more):
            return flow.value
        ends = np.array([0, 0, 0, 0, 0, more[0], more[1], more[1]], np.int64)
        return self.node("Pad", flow.value, self.weights(ends))

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(
            self._nodes,
            "dlib-resnet",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
            [helper.make_tensor_value_info("raw", TensorProto.FLOAT, ["n", DIMENSIONS])],
            self._weights,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets))
