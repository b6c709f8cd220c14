"""A network of the size of ArcFace's R50 (IResNet-50), with random weights: good for its speed only."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from models.prepare import CORE
from models.rows import ROWS

SIDE: Final = 112
_BLOCKS: Final = ((64, 3), (128, 4), (256, 14), (512, 3))  # channels, blocks; the first of each halves the side
_DIMENSIONS: Final = 512
_OPSET: Final = 17


def graph() -> bytes:
    """As models.prepare leaves one: uint8 [n, 112, 112, 3] -> float32 [n, 512], of length 1."""
    return bytes(_Builder().model().SerializeToString())


class _Builder:
    """As of InsightFace's arcface_torch, backbones/iresnet.py: no published weights, only the layers' shapes."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(50)
        self._nodes: list[NodeProto] = []
        self._weights: list[TensorProto] = []
        self._prefix = ""  # of what a node answers: CORE, where the node is of the network

    def model(self) -> ModelProto:
        x = self._node("Cast", "pixels", to=TensorProto.FLOAT)
        x = self._node("Transpose", x, perm=[0, 3, 1, 2])
        x = self._node("Mul", self._node("Sub", x, self._weight(np.array(127.5))), self._weight(np.array(1 / 127.5)))
        self._prefix = CORE
        x = self._network(x)
        self._prefix = ""
        x = self._node("LpNormalization", x, axis=1, p=2)
        built = helper.make_graph(
            self._nodes,
            "resnet50",
            [helper.make_tensor_value_info("pixels", TensorProto.UINT8, [ROWS, SIDE, SIDE, 3])],
            [helper.make_tensor_value_info(x, TensorProto.FLOAT, [ROWS, _DIMENSIONS])],
            self._weights,
        )
        return helper.make_model(built, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)

    def _network(self, x: str) -> str:
        channels = _BLOCKS[0][0]
        x = self._prelu(self._conv(x, 3, channels, 3), channels)
        for wide, blocks in _BLOCKS:
            for number in range(blocks):
                x = self._block(x, channels, wide, 1 if number else 2)
                channels = wide
        x = self._node("Flatten", self._norm(x, channels))
        inputs = channels * (SIDE >> len(_BLOCKS)) ** 2
        return self._node("Gemm", x, self._normal(inputs, _DIMENSIONS, fan=inputs), self._weight(np.zeros(_DIMENSIONS)))

    def _block(self, x: str, channels: int, wide: int, stride: int) -> str:
        """Normalised, 3 x 3, PReLU, 3 x 3, and the way around them. What follows a convolution is folded into it."""
        inner = self._prelu(self._conv(self._norm(x, channels), channels, wide, 3), wide)
        inner = self._conv(inner, wide, wide, 3, stride)
        around = self._conv(x, channels, wide, 1, stride) if stride > 1 else x
        return self._node("Add", inner, around)

    def _conv(self, x: str, channels: int, wide: int, side: int, stride: int = 1) -> str:
        weights = self._normal(wide, channels, side, side, fan=channels * side**2)
        strides = {"kernel_shape": [side] * 2, "pads": [side // 2] * 4, "strides": [stride] * 2}
        return self._node("Conv", x, weights, self._weight(np.zeros(wide)), **strides)

    def _norm(self, x: str, channels: int) -> str:
        ones, zeros = (self._weight(np.full(channels, value)) for value in (1, 0))
        # Deeper down, values that were added up block by block are larger.
        return self._node("BatchNormalization", x, ones, zeros, zeros, self._weight(np.full(channels, 4)))

    def _prelu(self, x: str, channels: int) -> str:
        return self._node("PRelu", x, self._weight(np.full((channels, 1, 1), 0.25)))

    def _normal(self, *shape: int, fan: int) -> str:
        return self._weight(self._rng.standard_normal(shape, np.float32) / np.sqrt(fan))

    def _weight(self, values: NDArray[np.floating]) -> str:
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def _node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{self._prefix}x{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name
