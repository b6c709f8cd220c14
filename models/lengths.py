"""How long an embedder's vectors are before they are normalised: told in a dry run, and by nothing that is served."""

import onnx
from onnx import TensorProto, helper

from models.errors import GraphMismatchError

# What the tail of a prepared embedder calls it (see tail.py).
LENGTH = "length"


def of(graph: bytes) -> bytes:
    """From a prepared embedder, one that answers lengths: uint8 [n, S, S, 3] -> float32 [n, 1]."""
    model = onnx.load_model_from_string(graph)
    if not any(LENGTH in node.output for node in model.graph.node):
        raise GraphMismatchError("the graph does not normalise its embeddings: prepare it anew")
    model.graph.ClearField("output")
    model.graph.output.append(helper.make_tensor_value_info(LENGTH, TensorProto.FLOAT, ["n", 1]))
    told: bytes = model.SerializeToString()
    return told
