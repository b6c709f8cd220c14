"""An ONNX file as published -> a network in a current opset with free rows, known to fit its description."""

from collections.abc import Iterator, Sequence

import onnx
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]
from onnx import TensorProto, external_data_helper, helper, shape_inference, version_converter

from models.errors import GraphMismatchError, first_line
from models.rows import ROWS, free_rows

# The opset that older files are converted to: recent enough for every operator that preparation adds.
# onnxruntime 1.31 has CUDA kernels for Equal up to opset 18 and for Pad up to 18; newer ones would run on the CPU, with
# copies there and back.
OPSET = 18


def read(source: bytes) -> onnx.ModelProto:
    """The network of an ONNX file, in opset 18 or its own newer one, weights no longer listed as inputs."""
    try:
        network = onnx.load_model_from_string(source)
    except DecodeError as error:
        raise GraphMismatchError("the file is not an ONNX model: it can't be parsed") from error
    if not network.graph.node:
        raise GraphMismatchError("the file is not an ONNX model: it holds no graph")
    if any(map(external_data_helper.uses_external_data, _tensors(network))):
        raise GraphMismatchError("the graph keeps its weights in a separate file: export it with the weights inside")
    weights = {each.name for each in network.graph.initializer}
    inputs = [each for each in network.graph.input if each.name not in weights]
    network.graph.ClearField("input")
    network.graph.input.extend(inputs)
    # Files of IR 3 had to list weights as inputs; from 4 on they need not, and the converter goes by this number.
    network.ir_version = max(network.ir_version, 4)
    return _modern(network)


def opset(network: onnx.ModelProto) -> int:
    """The version of the standard operators that the network imports."""
    return max((each.version for each in network.opset_import if each.domain in {"", "ai.onnx"}), default=0)


def fit(
    network: onnx.ModelProto, size: int, outputs: Sequence[tuple[str, tuple[int, ...]]], *, resizable: bool
) -> onnx.ModelProto:
    """The network with one input, float32 [n, 3, size, size], n free, and outputs of the shapes given (without n).

    `resizable`: fully convolutional, so that the side in the file says nothing. GraphMismatchError tells what was
    expected and what was found. What was exported for one image is rewritten for n (rows.py); that rows do not depend
    on each other only running can show (check.py).
    """
    fitted = onnx.ModelProto()
    fitted.CopyFrom(network)
    graph = fitted.graph
    if len(graph.input) != 1:
        found = ", ".join(each.name for each in graph.input) or "none"
        raise GraphMismatchError(f"expected a graph with one input, found {len(graph.input)}: {found}")
    _free(graph.input[0], size, resizable=resizable)
    # What was inferred or written down for the old sizes is wrong now, and inference would believe it.
    graph.ClearField("value_info")
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    try:
        fitted = free_rows(fitted, {name for name, shape in outputs if len(shape) == 2})
        fitted = shape_inference.infer_shapes(fitted, strict_mode=True, data_prop=True)
    except shape_inference.InferenceError as error:
        raise GraphMismatchError(
            f"the graph does not work for an input of [n, 3, {size}, {size}]: {first_line(error)}"
        ) from error
    for name, shape in outputs:
        _check_output(fitted, name, shape)
    return fitted


def _tensors(message: Message) -> Iterator[TensorProto]:
    """Every tensor in a model: weights, constants, what sparse ones consist of; also in subgraphs and functions."""
    if isinstance(message, TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in [value] if isinstance(value, Message) else value:
                yield from _tensors(each)


def _modern(network: onnx.ModelProto) -> onnx.ModelProto:
    own = opset(network)
    if own < OPSET:
        _normalise_by_channels(network.graph)
        try:
            network = version_converter.convert_version(network, OPSET)
        except (RuntimeError, version_converter.ConvertError, shape_inference.InferenceError) as error:
            raise GraphMismatchError(
                f"the graph can't be converted from opset {own} to {OPSET}: {first_line(error)}. "
                f"Export it with opset {OPSET}"
            ) from error
    # Other domains than the standard ones, and opsets that came after this onnx, are left to onnxruntime to refuse.
    least = helper.find_min_ir_version_for(network.opset_import, ignore_unknown=True)
    network.ir_version = max(network.ir_version, least)
    return network


def _normalise_by_channels(graph: onnx.GraphProto) -> None:
    """Before opset 9, a batch normalisation could say that it has weights for each pixel: MXNet's exports do, wrongly.

    Their weights are one for each channel, which leaves one meaning; the converter refuses to look.
    """
    sides = {weights.name: len(weights.dims) for weights in graph.initializer}
    for node in graph.node:
        if node.op_type == "BatchNormalization" and any(sides.get(scale) == 1 for scale in node.input[1:2]):
            for attribute in node.attribute:
                if attribute.name == "spatial":
                    attribute.i = 1


def _free(value: onnx.ValueInfoProto, size: int, *, resizable: bool) -> None:
    found = _shape(value)
    if value.type.tensor_type.elem_type != TensorProto.FLOAT:
        kind = TensorProto.DataType.Name(value.type.tensor_type.elem_type)
        raise GraphMismatchError(f"expected the input {value.name!r} to be float32, found {kind}")
    if found is None or len(found) != 4 or found[1] not in {3, None}:
        raise GraphMismatchError(f"expected the input {value.name!r} to be [n, 3, height, width], found {_told(found)}")
    if not resizable and any(side not in {size, None} for side in found[2:]):
        raise GraphMismatchError(
            f"expected the input {value.name!r} to be {size} x {size} pixels as described, found {_told(found)}"
        )
    value.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, [ROWS, 3, size, size]))


def _check_output(network: onnx.ModelProto, name: str, shape: tuple[int, ...]) -> None:
    named = {each.name: each for each in network.graph.output}
    if name not in named:
        raise GraphMismatchError(f"expected an output {name!r}, found {', '.join(named) or 'none'}")
    found = _shape(named[name])
    if found is None:  # nothing is known before it runs, and check.py runs it
        return
    rows, rest = found[0] if found else None, found[1:]
    if rows is not None:
        raise GraphMismatchError(f"the output {name!r} is fixed at {rows} rows: export the graph with a free batch")
    if len(found) != len(shape) + 1 or any(a not in {b, None} for a, b in zip(rest, shape, strict=True)):
        raise GraphMismatchError(f"expected the output {name!r} to be {_told((None, *shape))}, found {_told(found)}")


def _shape(value: onnx.ValueInfoProto) -> tuple[int | None, ...] | None:
    if not value.type.tensor_type.HasField("shape"):
        return None
    return tuple(each.dim_value if each.HasField("dim_value") else None for each in value.type.tensor_type.shape.dim)


def _told(shape: tuple[int | None, ...] | None) -> str:
    if shape is None:
        return "no shape"
    return f"[{', '.join('free' if side is None else str(side) for side in shape)}]"
