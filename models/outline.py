"""What a graph takes and gives, in words: for whoever describes a file and does not know its inside."""

import json
from collections.abc import Mapping
from types import MappingProxyType

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, helper, shape_inference

from models.catalog import ModelDescription
from models.decoding import DECODINGS

Shape = tuple[int | None, ...]

# Decoding -> how many values of each kind its outputs have for a place, in the order in which it takes them: a score,
# a box, five points, and what else there is.
_WIDTHS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "centerface": (1, 2, 2, 10),
        "retinaface": (4, 2, 10),
        "scrfd": (1, 1, 1, 4, 4, 4, 10, 10, 10),
        "yunet": (1, 1, 1, 1, 1, 1, 4, 4, 4, 10, 10, 10),
    }
)


def told(source: bytes, description: ModelDescription) -> str:
    """The inputs and outputs of an ONNX file with their shapes and, where these tell it, what the description should
    say. Empty for what is no ONNX file.
    """
    try:
        graph = _inferred(onnx.load_model_from_string(source), description.input.size).graph
    except DecodeError:
        return ""
    weights = {each.name for each in graph.initializer}
    inputs = {each.name: _shape(each) for each in graph.input if each.name not in weights}
    outputs = {each.name: _shape(each) for each in graph.output}
    if not outputs:
        return ""
    return f"The graph takes {_listed(inputs)} and gives {_listed(outputs)}.{_advice(outputs)}"


def _advice(outputs: Mapping[str, Shape | None]) -> str:
    shapes = {name: shape for name, shape in outputs.items() if shape}
    if len(shapes) < len(outputs):
        return ""
    if len(shapes) == 1:
        [(_, shape)] = shapes.items()
        known = [side for side in shape[1:] if side != 1]
        if len(known) == 1 and known[0]:
            return f' So it looks like an embedder: role = "embedder", dimensions = {known[0]}'
        return ""
    widths = {name: _width(shape) for name, shape in shapes.items()}
    for decoding, wanted in _WIDTHS.items():
        if decoding in DECODINGS and sorted(widths.values()) == sorted(wanted):
            ordered = _ordered(shapes, widths, wanted)
            return f' Their number and shapes fit decoding = "{decoding}", perhaps with outputs = {_quoted(ordered)}'
    return ""


def _ordered(shapes: Mapping[str, Shape], widths: Mapping[str, int], wanted: tuple[int, ...]) -> list[str]:
    """The outputs by kind and then, as far as the file says it, from the finest grid to the coarsest."""

    def fineness(name: str) -> tuple[bool, int]:
        # YuNet's class scores come before its object scores, grid by grid.
        return "obj" in name, -max((side or 0 for side in shapes[name]), default=0)

    kinds = list(dict.fromkeys(wanted))
    if len(set(wanted)) == len(wanted) or len(wanted) == 4:  # each kind once, or one grid: as the file has them
        return sorted(shapes, key=lambda name: kinds.index(widths[name]))
    return sorted(shapes, key=lambda name: (kinds.index(widths[name]), *fineness(name)))


def _width(shape: Shape) -> int:
    """How many values there are for a place: behind a grid's rows, or in its channels."""
    return (shape[1] if len(shape) == 4 else shape[-1]) or 0


def _inferred(network: onnx.ModelProto, size: int) -> onnx.ModelProto:
    """The network with the shapes that it has for one picture of that size; as it is, where they can't be told."""
    fitted = onnx.ModelProto()
    fitted.CopyFrom(network)
    weights = {each.name for each in fitted.graph.initializer}
    pictures = [each for each in fitted.graph.input if each.name not in weights]
    if len(pictures) != 1 or len(pictures[0].type.tensor_type.shape.dim) != 4:
        return network
    kind = pictures[0].type.tensor_type.elem_type or TensorProto.FLOAT
    pictures[0].type.CopyFrom(helper.make_tensor_type_proto(kind, [1, 3, size, size]))
    fitted.graph.ClearField("value_info")
    for output in fitted.graph.output:
        output.type.tensor_type.ClearField("shape")
    try:
        fitted = shape_inference.infer_shapes(fitted, data_prop=True)
    except (ValueError, shape_inference.InferenceError):
        return network
    known = all(_shape(each) is not None for each in fitted.graph.output)
    return fitted if known else network


def _shape(value: onnx.ValueInfoProto) -> Shape | None:
    if not value.type.tensor_type.HasField("shape"):
        return None
    return tuple(each.dim_value if each.HasField("dim_value") else None for each in value.type.tensor_type.shape.dim)


def _listed(values: Mapping[str, Shape | None]) -> str:
    return ", ".join(f"{name} {_sides(shape)}" for name, shape in values.items()) or "nothing"


def _sides(shape: Shape | None) -> str:
    if shape is None:
        return "of unknown shape"
    return f"[{', '.join('?' if side is None else str(side) for side in shape)}]"


def _quoted(names: list[str]) -> str:
    return f"[{', '.join(map(json.dumps, names))}]"
