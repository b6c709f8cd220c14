"""Folds what is the same for every image into the graph, so that bytes go in and a small answer comes out.

    uint8 rows -> [front: layout, colour order, mean and scale] -> network -> [tail: decoding or normalisation]

The network itself is rewritten to the same in fewer steps (fusion.py).

Whoever changes a prepared graph raises PREPARATION in catalog.py.
"""

import numpy as np
import numpy.typing as npt
import onnx
from onnx import checker, compose, helper, numpy_helper, parser, shape_inference

from models import dlib, fusion, network
from models.catalog import ModelDescription
from models.decoding import DECODINGS
from models.errors import GraphMismatchError, first_line
from models.tail import Tail, normalisation

CORE = "network/"

Floats = npt.NDArray[np.float32]


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
    core = compose.add_prefix(fusion.fused(fitted), CORE)
    rows = fusion.take_pixels_as_rows(core, flipped=description.input.color == "BGR")
    front = _front_of_rows(description, core) if rows else _front(description, core)
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
    # While a value is one byte, moving it costs a quarter.
    steps = ["planes = Transpose <perm = [0, 3, 1, 2]> ({})"]
    if spec.color == "BGR":
        steps.append("ordered = Gather <axis = 1> ({}, bgr)")
    mean, scale = (np.array(each, np.float32).reshape(1, 3, 1, 1) for each in (spec.mean, spec.scales))
    return _front_of(description, core, steps, mean, scale)


def _front_of_rows(description: ModelDescription, core: onnx.ModelProto) -> onnx.ModelProto:
    """uint8 [n, S, S, 3] RGB -> float32 [n, 1, S, 3 S], for a network that takes pixels as they lie there."""
    spec = description.input
    order = slice(None, None, -1 if spec.color == "BGR" else 1)
    mean, scale = (np.tile(np.array(each, np.float32)[order], spec.size) for each in (spec.mean, spec.scales))
    return _front_of(description, core, ["in_rows = Reshape ({}, as_rows)"], mean, scale)


def _front_of(
    description: ModelDescription, core: onnx.ModelProto, steps: list[str], mean: Floats, scale: Floats
) -> onnx.ModelProto:
    """steps: what arranges the bytes. mean, scale: to fit the arrangement."""
    size = description.input.size
    given = [side.dim_value for side in core.graph.input[0].type.tensor_type.shape.dim[1:]]
    steps = [*steps, "values = Cast <to = 1> ({})"]
    if mean.any():
        steps.append("centred = Sub ({}, mean)")
    if (scale != 1).any():
        steps.append("scaled = Mul ({}, scale)")
    value = "canvases" if description.role == "detector" else "crops"
    signature = f"(uint8[n, {size}, {size}, 3] {value}) => (float[n, {', '.join(map(str, given))}] pixels)"
    lines = []
    for step in steps:
        lines.append(step.format(value))
        value = step.partition(" ")[0]
    body = "\n".join([*lines, f"pixels = Identity ({value})"])
    graph = parser.parse_graph(f"front {signature} {{ {body} }}")
    tables = {"bgr": np.array([2, 1, 0]), "as_rows": np.array([0, *given]), "mean": mean, "scale": scale}
    graph.initializer.extend(numpy_helper.from_array(table, name) for name, table in tables.items())
    return _model(graph, core)


def _model(graph: onnx.GraphProto, like: onnx.ModelProto) -> onnx.ModelProto:
    """A graph as a model with the versions of another, so that the two can be merged."""
    opsets = [helper.make_opsetid("", network.opset(like))]
    return helper.make_model(graph, ir_version=like.ir_version, opset_imports=opsets)
