"""Folds what is the same for every image into the graph, so that bytes go in and a small answer comes out.

    uint8 rows -> [front: layout, colour order, mean and scale] -> network -> [tail: decoding or normalisation]

Whoever changes a prepared graph raises PREPARATION in catalog.py.
"""

import onnx
from onnx import checker, compose, helper, parser, shape_inference

from models import dlib, network
from models.catalog import InputSpec, ModelDescription
from models.decoding import DECODINGS
from models.errors import GraphMismatchError, first_line
from models.tail import Tail, normalisation

CORE = "network/"


def prepare(description: ModelDescription, source: bytes) -> onnx.ModelProto:
    """The graph that is served, from the bytes of the source file. n is free, S the described input size.

    A detector: canvases uint8 [n, S, S, 3] RGB -> candidates float32 [n, K, 15] (see centerface.py for a row), in
    pixels of the canvas, which spans 0 to S; by falling score, neither thresholded nor suppressed.
    An embedder: crops uint8 [n, S, S, 3] RGB, aligned to its template -> embeddings float32 [n, d] of length 1.

    GraphMismatchError where the file does not fit the description, WeightsError for a broken dlib file.
    """
    return prepared(description, read(description, source))


def read(description: ModelDescription, source: bytes) -> onnx.ModelProto:
    """The network in the bytes of the source file, as it was published, in a current opset. Errors as of `prepare`."""
    return dlib.network(source) if description.format == "dlib" else network.read(source)


def prepared(description: ModelDescription, raw: onnx.ModelProto) -> onnx.ModelProto:
    """The graph that is served, from what `read` has read."""
    size = description.input.size
    names, tail = _ending(description, raw)
    fitted = network.fit(
        raw, size, list(zip(names, tail.heads.values(), strict=True)), resizable=description.detector is not None
    )
    # A prefix of its own keeps the network's names apart from those of front and tail.
    core = compose.add_prefix(fitted, CORE)
    front = _front(description, core)
    back = _model(tail.graph(), core)
    try:
        joined = compose.merge_models(front, core, io_map=[("pixels", core.graph.input[0].name)])
        whole = compose.merge_models(
            joined,
            back,
            io_map=[(f"{CORE}{name}", head) for name, head in zip(names, tail.heads, strict=True)],
            inputs=[front.graph.input[0].name],
            outputs=[tail.output],
            name=description.id,
            producer_name="facebento",
        )
        whole.ClearField("opset_import")
        whole.opset_import.extend(core.opset_import)
        _drop_idle_weights(whole.graph)
        whole = shape_inference.infer_shapes(whole, strict_mode=True, data_prop=True)
        checker.check_model(whole, full_check=True)
    except (ValueError, checker.ValidationError, shape_inference.InferenceError) as error:
        raise GraphMismatchError(f"the graph of {description.id} can't be prepared: {first_line(error)}") from error
    return whole


def heads(description: ModelDescription, raw: onnx.ModelProto) -> list[str]:
    """The outputs of the network that count. In the prepared graph they are called so behind `CORE`."""
    return list(_ending(description, raw)[0])


def _ending(description: ModelDescription, raw: onnx.ModelProto) -> tuple[tuple[str, ...], Tail]:
    """The outputs of the network that count, and what takes them, in the same order."""
    if description.detector is not None:
        detector = description.detector
        tail = DECODINGS[detector.decoding](description.input.size, detector.candidates)
        if len(detector.outputs) != len(tail.heads):
            raise GraphMismatchError(
                f"the decoding {detector.decoding} takes {len(tail.heads)} outputs ({', '.join(tail.heads)}), "
                f"the description names {len(detector.outputs)}"
            )
        return detector.outputs, tail
    if description.embedder is None:
        raise AssertionError("a description has one of the two sections")
    outputs = tuple(each.name for each in raw.graph.output)
    if len(outputs) != 1:
        raise GraphMismatchError(f"expected an embedder with one output, found {len(outputs)}: {', '.join(outputs)}")
    return outputs, normalisation(description.embedder.dimensions)


def _drop_idle_weights(graph: onnx.GraphProto) -> None:
    """Training leaves counters among the weights, and onnxruntime warns of each at every start."""
    used = _names_read(graph)
    kept = [weights for weights in graph.initializer if weights.name in used]
    graph.ClearField("initializer")
    graph.initializer.extend(kept)


def _names_read(graph: onnx.GraphProto) -> set[str]:
    names = {output.name for output in graph.output}
    for node in graph.node:
        names.update(node.input)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                names |= _names_read(inner)
    return names


def _front(description: ModelDescription, core: onnx.ModelProto) -> onnx.ModelProto:
    """uint8 [n, S, S, 3] RGB -> float32 [n, 3, S, S] as the network wants it; no step that changes nothing."""
    spec = description.input
    rows = "canvases" if description.role == "detector" else "crops"
    # While a value is one byte, moving it costs a quarter.
    steps = ["planes = Transpose <perm = [0, 3, 1, 2]> ({})"]
    constants = []
    if spec.color == "BGR":
        constants.append("int64[3] bgr = {2, 1, 0}")
        steps.append("ordered = Gather <axis = 1> ({}, bgr)")
    steps.append("values = Cast <to = 1> ({})")
    if any(spec.mean):
        constants.append(f"float[1, 3, 1, 1] mean = {_braced(spec.mean)}")
        steps.append("centred = Sub ({}, mean)")
    if spec.scales != (1.0, 1.0, 1.0):
        constants.append(f"float[1, 3, 1, 1] scale = {_braced(spec.scales)}")
        steps.append("scaled = Mul ({}, scale)")
    lines, value = [], rows
    for step in steps:
        lines.append(step.format(value))
        value = step.partition(" ")[0]
    lines.append(f"pixels = Identity ({value})")
    return _model(parser.parse_graph(_front_text(spec, rows, constants, lines)), core)


def _front_text(spec: InputSpec, rows: str, constants: list[str], lines: list[str]) -> str:
    weights = f"<{', '.join(constants)}>" if constants else ""
    body = "\n".join(lines)
    return f"""
        front (uint8[n, {spec.size}, {spec.size}, 3] {rows}) => (float[n, 3, {spec.size}, {spec.size}] pixels)
        {weights}
        {{
            {body}
        }}
    """


def _braced(values: tuple[float, ...]) -> str:
    return f"{{{', '.join(map(str, values))}}}"


def _model(graph: onnx.GraphProto, like: onnx.ModelProto) -> onnx.ModelProto:
    """A graph as a model with the versions of another, so that the two can be merged."""
    opsets = [helper.make_opsetid("", network.opset(like))]
    return helper.make_model(graph, ir_version=like.ir_version, opset_imports=opsets)
