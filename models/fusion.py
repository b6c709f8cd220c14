"""The same network in fewer and cheaper steps, where runtimes leave them as they were exported.

Each rewriting is exact but for the rounding of float32. What one would cost more than it saves stays as it is. By how
much they help is told in docs/decisions/0010-graphs.md.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

# onnxruntime computes so many filters of a convolution at a time where the CPU has AVX-512, and pads to that.
BLOCK = 16

Floats = npt.NDArray[np.float32]
Steps = tuple[tuple[str, tuple[int, ...]], ...]  # strides, pads and dilations, as far as they are told


@dataclass(frozen=True)
class Convolution:
    node: onnx.NodeProto
    weights: Floats  # [filters, channels of a group, kernel height, kernel width]
    biases: Floats  # [filters]
    group: int
    steps: Steps

    @property
    def filters(self) -> int:
        return len(self.weights)

    @property
    def each_channel_alone(self) -> bool:
        return self.group == self.filters and self.weights.shape[1] == 1

    @property
    def each_pixel_alone(self) -> bool:
        """Whether it takes the channels of a pixel, and nothing beside or between."""
        told = dict(self.steps)
        return (
            self.weights.shape[2:] == (1, 1) and set(told.get("strides", ())) <= {1} and not any(told.get("pads", ()))
        )


def fused(network: onnx.ModelProto) -> onnx.ModelProto:
    """The network, rewritten in place: same input, same outputs."""
    graph = _Graph(network.graph)
    while _chain(graph) or _siblings(graph) or _siblings_of_channels(graph):
        pass
    return network


def take_pixels_as_rows(network: onnx.ModelProto, *, flipped: bool) -> bool:
    """Have the network take [n, 1, S, 3 S], the three channels of pixel after pixel, instead of [n, 3, S, S].

    flipped: the last channel first. So a picture as it lies in memory need not be taken apart. The three channels of a
    column become three columns, and the convolution that reads them gets a kernel and a stride three times as wide.
    False, and the network is left as it is, where it is something else that reads them.
    """
    graph = _Graph(network.graph)
    [taken] = network.graph.input
    first = graph.convolution(graph.only_taker(taken.name))
    if first is None or first.group != 1 or first.weights.shape[1] != 3:
        return False
    steps = dict(first.steps)
    if set(steps.get("dilations", ())) > {1}:
        return False
    top, left, bottom, right = steps.get("pads", (0, 0, 0, 0))
    down, across = steps.get("strides", (1, 1))
    filters, colours, height, width = first.weights.shape
    ordered = first.weights[:, ::-1] if flipped else first.weights
    weights = ordered.transpose(0, 2, 3, 1).reshape(filters, 1, height, colours * width)
    wider = (("strides", (down, colours * across)), ("pads", (top, colours * left, bottom, colours * right)))
    given = first.node.output[0]
    graph.replace([first.node], _convolution(weights, first.biases, wider, taking=taken.name, giving=given))
    sides = taken.type.tensor_type.shape.dim
    sides[1].dim_value, sides[3].dim_value = 1, colours * sides[3].dim_value
    return True


class _Graph:
    """A graph that is rewritten in place, and what is known of it."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        # What also goes elsewhere than to a node of this graph.
        self._given = {output.name for output in graph.output} | set(_read_inside(graph))
        self._weights = {each.name: each for each in graph.initializer}
        self._takers: dict[str, list[onnx.NodeProto]] = {}
        self._look()

    @property
    def nodes(self) -> Sequence[onnx.NodeProto]:
        return list(self._graph.node)

    def takers(self, name: str) -> list[onnx.NodeProto]:
        return self._takers.get(name, [])

    def only_taker(self, name: str) -> onnx.NodeProto | None:
        """The one node that a value goes to, if it goes nowhere else."""
        takers = self.takers(name)
        return takers[0] if len(takers) == 1 and name not in self._given else None

    def convolution(self, node: onnx.NodeProto | None) -> Convolution | None:
        """Of two dimensions, with weights and padding that are known."""
        if node is None or node.op_type != "Conv" or node.domain not in {"", "ai.onnx"}:
            return None
        told: dict[str, Any] = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        tensors = [self._weights.get(name) for name in node.input[1:] if name]
        if told.pop("auto_pad", b"NOTSET") != b"NOTSET" or None in tensors:
            return None
        weights, *biases = (numpy_helper.to_array(tensor) for tensor in tensors if tensor is not None)
        if weights.ndim != 4 or weights.dtype != np.float32:
            return None
        group = told.pop("group", 1)
        told.pop("kernel_shape", None)
        steps = tuple(sorted((name, tuple(values)) for name, values in told.items()))
        return Convolution(node, weights, biases[0] if biases else np.zeros(len(weights), np.float32), group, steps)

    def replace(self, nodes: Sequence[onnx.NodeProto], new: Convolution, *others: onnx.NodeProto) -> None:
        """Put new, and what takes what it gives, in the place of the first of the nodes."""
        place = min(self.nodes.index(node) for node in nodes)
        for node in nodes:
            self._graph.node.remove(node)
        new.node.input[1:] = [
            self.constant(name, values)
            for name, values in zip(new.node.input[1:], (new.weights, new.biases), strict=True)
        ]
        for node in reversed((new.node, *others)):
            self._graph.node.insert(place, node)
        self._look()

    def constant(self, name: str, values: npt.NDArray[Any]) -> str:
        """Answers its name, which is the one that is told unless there is such a one."""
        while name in self._weights:
            name += "'"
        self._weights[name] = numpy_helper.from_array(values, name)
        self._graph.initializer.append(self._weights[name])
        return name

    def _look(self) -> None:
        takers = defaultdict(list)
        for node in self._graph.node:
            for name in node.input:
                takers[name].append(node)
        self._takers = dict(takers)


def _chain(graph: _Graph) -> bool:
    """Two convolutions, nothing between and the second of single pixels: one, where that multiplies less."""
    for node in graph.nodes:
        first = graph.convolution(node)
        second = graph.convolution(graph.only_taker(node.output[0])) if first is not None else None
        if first is None or second is None or first.group != 1 or second.group != 1 or not second.each_pixel_alone:
            continue
        share = second.weights[:, :, 0, 0].astype(np.float64)
        weights = np.einsum("oc,cikl->oikl", share, first.weights)
        if weights.size >= first.weights.size + second.weights.size:
            continue
        given = second.node.output[0]
        both = _convolution(
            weights, share @ first.biases + second.biases, first.steps, taking=node.input[0], giving=given
        )
        graph.replace([first.node, second.node], both)
        return True
    return False


def _siblings(graph: _Graph) -> bool:
    """Convolutions of the same value in the same steps: one, where that halves the blocks of filters.

    The heads of detectors are such: of 1, 2, 2 and 10 filters, say, which take as long as four of 16 do. To split what
    is given has its price, which a smaller saving would not pay.
    """
    for name in dict.fromkeys(name for node in graph.nodes for name in node.input[:1]):
        alike = defaultdict(list)
        for each in _convolutions(graph, graph.takers(name)):
            if each.group == 1:
                alike[each.weights.shape[1:], each.steps].append(each)
        for siblings in alike.values():
            together = _blocks(sum(each.filters for each in siblings))
            if len(siblings) > 1 and 2 * together <= sum(_blocks(each.filters) for each in siblings):
                _merge(graph, siblings, name, group=1)
                return True
    return False


def _siblings_of_channels(graph: _Graph) -> bool:
    """Convolutions of each channel alone, of the parts that a value is split into: one, before it is split."""
    for node in graph.nodes:
        if node.op_type != "Split":
            continue
        parts = list(_convolutions(graph, [graph.only_taker(name) for name in node.output]))
        if len(parts) < len(node.output) or not all(each.each_channel_alone for each in parts):
            continue
        if len({(each.weights.shape[1:], each.steps) for each in parts}) == 1 and _of_channels(node):
            _merge(graph, parts, node.input[0], group=sum(each.filters for each in parts), instead_of=node)
            return True
    return False


def _merge(
    graph: _Graph, siblings: Sequence[Convolution], taking: str, *, group: int, instead_of: onnx.NodeProto | None = None
) -> None:
    outputs = [each.node.output[0] for each in siblings]
    together = f"{outputs[0]}/together"
    merged = _convolution(
        np.concatenate([each.weights for each in siblings]),
        np.concatenate([each.biases for each in siblings]),
        siblings[0].steps,
        taking=taking,
        giving=together,
        group=group,
    )
    sizes = graph.constant(f"{together}/sizes", np.array([each.filters for each in siblings], np.int64))
    split = helper.make_node("Split", [together, sizes], outputs, axis=1)
    graph.replace([each.node for each in siblings] + ([] if instead_of is None else [instead_of]), merged, split)


def _convolution(
    weights: npt.NDArray[Any], biases: npt.NDArray[Any], steps: Steps, *, taking: str, giving: str, group: int = 1
) -> Convolution:
    inputs = [taking, f"{giving}/weights", f"{giving}/biases"]
    told: dict[str, Any] = dict(steps)
    node = helper.make_node("Conv", inputs, [giving], kernel_shape=weights.shape[2:], group=group, **told)
    return Convolution(node, weights.astype(np.float32), biases.astype(np.float32), group, steps)


def _read_inside(graph: onnx.GraphProto) -> Iterator[str]:
    """What the branches and bodies within a graph's nodes read."""
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                for each in inner.node:
                    yield from each.input
                yield from (output.name for output in inner.output)
                yield from _read_inside(inner)


def _of_channels(split: onnx.NodeProto) -> bool:
    return any(each.name == "axis" and each.i == 1 for each in split.attribute)


def _convolutions(graph: _Graph, nodes: Sequence[onnx.NodeProto | None]) -> Iterator[Convolution]:
    return (each for each in map(graph.convolution, nodes) if each is not None)


def _blocks(filters: int) -> int:
    return -(-filters // BLOCK)
