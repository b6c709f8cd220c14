"""Graphs exported for one image -> graphs for any number of them.

An export that was traced with one image often has that one written into it: as the first number of a shape, or as rows
that were merged since there was only one. For one image each rewriting here gives the values that the graph gave
before; where that can't be seen from the graph, it is left as it is, and check.py refuses it.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper, shape_inference

ROWS = "n"
# Images first, then rows and columns of cells, then channels; and what a transposition may have made of it that has
# the same order for one image.
CELLS_LAST = (0, 2, 3, 1)
MERGED = (CELLS_LAST, (2, 3, 0, 1))
# What treats each value alone, so that it does not matter how they are arranged.
ELEMENTWISE = {"Cast", "Clip", "Exp", "Identity", "Relu", "Sigmoid", "Sqrt", "Tanh"}
# What keeps images first where all that it takes has them first, and of which shape inference says less.
COMBINING = {"Add", "Concat", "Div", "Max", "Mul", "Resize", "Sub"}

Shape = tuple[int | str | None, ...]
Integers = npt.NDArray[np.int64]


def free_rows(network: onnx.ModelProto, flattened: Collection[str]) -> onnx.ModelProto:
    """The network with the one image taken out of its shapes. Its input is float32 [n, ...] with n free.

    flattened: the outputs that should have the shape [n, cells, channels], and may have [cells, channels] so far.
    """
    graph = network.graph
    while any(node.op_type in {"Reshape", "Resize"} for node in graph.node):
        # A shape that was fixed hides all shapes behind it: after each round more of them are known.
        view = View(shape_inference.infer_shapes(network, data_prop=True).graph, graph, flattened)
        if not [node for node in list(graph.node) if _rewrite(view, node)]:
            break
    return network


class View:
    """What is known of a graph: `inferred` has its shapes, `graph` is rewritten."""

    def __init__(self, inferred: onnx.GraphProto, graph: onnx.GraphProto, flattened: Collection[str]) -> None:
        self.graph = graph
        self.flattened = flattened
        values = [*inferred.input, *inferred.value_info, *inferred.output]
        self._shapes = {each.name: _shape(each.type.tensor_type) for each in values}
        self._weights = {each.name: each for each in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}
        self._rows = {ROWS}
        for node in graph.node:
            if node.op_type in COMBINING and self._keeps_rows(node) and all(map(self.has_rows, self._computed(node))):
                self._rows.update(side for side in self.shape(node.output[0])[:1] if isinstance(side, str))

    def shape(self, name: str) -> Shape:
        """Empty where nothing is known."""
        return self._shapes.get(name, ())

    def has_rows(self, name: str) -> bool:
        """Whether the first side of a value is n, by whatever name: inference makes up new ones."""
        return any(side in self._rows for side in self.shape(name)[:1])

    def _keeps_rows(self, node: onnx.NodeProto) -> bool:
        """Whether a node leaves the first side as long as it is in what it takes."""
        sides = len(self.shape(node.output[0]))
        attributes = _attributes(node)
        if node.op_type == "Concat":
            return bool(sides and attributes.get("axis", 0) % sides)
        if node.op_type == "Resize":
            axes = [axis % sides for axis in attributes.get("axes", range(sides))]
            if 0 not in axes:
                return True
            place, told = axes.index(0), [*node.input, "", ""]
            if told[3]:
                return self._counts_rows(told[3]) if place == 0 else False
            scales = self.numbers(told[2])
            return scales is not None and len(scales) == len(axes) and scales[place] == 1
        return True

    def _counts_rows(self, name: str) -> bool:
        """Whether the first number of a shape that is put together as the graph runs is n."""
        if (shape := self.maker(name, "Shape")) is not None:
            return not _attributes(shape).get("start") and self.has_rows(shape.input[0])
        if (parts := self.maker(name, "Concat")) is not None:
            return self._counts_rows(parts.input[0])
        if (part := self.maker(name, "Slice")) is not None:
            begins = self.integers(part.input[1])
            return begins is not None and begins[0] == 0 and self._counts_rows(part.input[0])
        return False

    def _computed(self, node: onnx.NodeProto) -> Iterable[str]:
        """What a node takes that is no constant; the first only of one whose others are shapes."""
        names = node.input[:1] if node.op_type == "Resize" else node.input
        return [name for name in names if name not in self._weights and not self.maker(name, "Constant")]

    def maker(self, name: str, kind: str) -> onnx.NodeProto | None:
        node = self._makers.get(name)
        return node if node is not None and node.op_type == kind else None

    def takers(self, name: str) -> list[onnx.NodeProto]:
        return [node for node in self.graph.node if name in node.input]

    def integers(self, name: str) -> Integers | None:
        """A constant, if it is one and holds integers."""
        values = self.numbers(name)
        return values if values is not None and values.dtype == np.int64 else None

    def numbers(self, name: str) -> npt.NDArray[Any] | None:
        """A constant, if it is one."""
        tensor = self._weights.get(name)
        if tensor is None and (node := self.maker(name, "Constant")) is not None:
            tensor = _attributes(node).get("value")
        return None if tensor is None else np.atleast_1d(numpy_helper.to_array(tensor))

    def constant(self, name: str, values: Any) -> str:
        self.graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def insert_before(self, node: onnx.NodeProto, *new: onnx.NodeProto) -> None:
        place = list(self.graph.node).index(node)
        for each in reversed(new):
            self.graph.node.insert(place, each)


def _rewrite(view: View, node: onnx.NodeProto) -> bool:
    match node.op_type:
        case "Reshape":
            return _one_image(view, node) or _joined_image(view, node) or _merged_cells(view, node)
        case "Resize":
            return _resized_image(view, node)
    return False


def _one_image(view: View, node: onnx.NodeProto) -> bool:
    """Reshape [n, ...] to [1, ...]: to [n, ...] instead."""
    target = view.integers(node.input[1])
    if target is None or len(target) < 2 or target[0] != 1 or not view.has_rows(node.input[0]):
        return False
    _reshape_to(view, node, [0, *target[1:]])
    return True


def _joined_image(view: View, node: onnx.NodeProto) -> bool:
    """The same where the shape is put together as the graph runs, with a constant 1 at its beginning."""
    parts = view.maker(node.input[1], "Concat")
    if parts is None or not view.has_rows(node.input[0]) or _attributes(node).get("allowzero"):
        return False
    first = view.integers(parts.input[0])
    if first is None or first[0] != 1 or len(view.takers(parts.output[0])) > 1:
        return False
    parts.input[0] = view.constant(f"{parts.output[0]}/rows", [0, *first[1:]])
    return True


def _merged_cells(view: View, node: onnx.NodeProto) -> bool:
    """Maps [n, channels, h, w], transposed, to [n h w, channels]: to [n, h w, channels] instead.

    Only where nothing but a wanted output is made of it, by steps that treat each value alone.
    """
    transposition = view.maker(node.input[0], "Transpose")
    target = view.integers(node.input[1])
    if transposition is None or target is None or len(target) != 2 or target[0] != -1:
        return False
    order = tuple(_attributes(transposition).get("perm", ()))
    if order not in MERGED or not view.has_rows(transposition.input[0]) or len(view.takers(node.input[0])) > 1:
        return False
    if not all(name in view.flattened for name in _ends(view, node.output[0])):
        return False
    _reshape_to(view, node, [0, *target])
    _set_order(transposition, CELLS_LAST)
    return True


def _resized_image(view: View, node: onnx.NodeProto) -> bool:
    """Resize [n, c, h, w] to the sizes [1, c, H, W]: to [n, c, H, W] instead."""
    if len(node.input) < 4 or not node.input[3] or not view.has_rows(node.input[0]):
        return False
    channels = view.shape(node.input[0])[1]
    parts = view.maker(node.input[3], "Concat")
    names = list(parts.input) if parts is not None else [node.input[3]]
    known: list[int] = []
    while names and len(known) < 2:
        values = view.integers(names.pop(0))
        if values is None:
            return False
        known += values.tolist()
    if known[:2] != [1, channels]:
        return False
    stem = f"{node.output[0]}/rows"
    rest = [view.constant(f"{stem}/sides", known[2:])] if known[2:] else []
    first = helper.make_node("Shape", [node.input[0]], [f"{stem}/first"], start=0, end=2)
    sizes = helper.make_node("Concat", [f"{stem}/first", *rest, *names], [stem], axis=0)
    view.insert_before(node, first, sizes)
    node.input[3] = stem
    return True


def _reshape_to(view: View, node: onnx.NodeProto, target: list[int]) -> None:
    """A zero at the beginning of a shape stands for what is there already, unless the node says that it does not."""
    kept = [each for each in node.attribute if each.name != "allowzero"]
    node.ClearField("attribute")
    node.attribute.extend(kept)
    node.input[1] = view.constant(f"{node.output[0]}/rows", target)


def _ends(view: View, name: str) -> Iterator[str]:
    """The outputs of the graph that a value becomes; its own name where it becomes anything else."""
    takers = view.takers(name)
    if any(name == output.name for output in view.graph.output) or not takers:
        yield name
    for node in takers:
        if node.op_type in ELEMENTWISE:
            yield from _ends(view, node.output[0])
        else:
            yield f"{name} in {node.op_type}"


def _set_order(transposition: onnx.NodeProto, order: tuple[int, ...]) -> None:
    transposition.ClearField("attribute")
    transposition.attribute.append(helper.make_attribute("perm", order))


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def _shape(tensor: onnx.TypeProto.Tensor) -> Shape:
    return tuple(each.dim_value if each.HasField("dim_value") else each.dim_param or None for each in tensor.shape.dim)
