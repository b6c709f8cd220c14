"""A prepared graph with its network in 16-bit floats, for GPUs, which multiply those several times as fast.

What is around the network stays in 32 bits: mean and scale before it, and behind it the decoding of boxes, since 16
bits hold pixel coordinates to half a pixel, and the normalisation of embeddings. What goes in and comes out is the
same, and so is the embedding space, to 0.999 of the cosine: features of either can be compared, and have one
fingerprint.

Needs onnx, which only the GPU's requirements bring to a host that serves.
"""

import sys
from collections.abc import Iterable, Mapping
from itertools import dropwhile, takewhile

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime.transformers
from onnx import TensorProto, helper

from models.check import BEST
from models.prepare import CORE

# It lets itself be found by its modules' bare names, of which one is `models`.
sys.path[:] = [path for path in sys.path if path not in onnxruntime.transformers.__path__]
from onnxruntime.transformers.float16 import convert_float_to_float16  # noqa: E402

Floats = npt.NDArray[np.float32]

SAME_COSINE = 0.999
# A network that does not bear 16 bits (its values may grow beyond 65,504) answers something else altogether. The best
# candidates may be noise, which moves by pixels (on a CPU by half of one in patterns, by two in photographs).
SAME_SCORE = 0.02
SAME_SIDE = 0.01  # of the canvas


def halve(graph: bytes) -> bytes:
    """The graph with the network's weights and values in 16 bits, its inputs and outputs as ever.

    Raises ValueError where the graph is not one that `prepare` made.
    """
    model = onnx.load_model_from_string(graph)
    nodes = model.graph.node
    front = [*takewhile(lambda node: not _of_network(node), nodes)]
    behind = [*dropwhile(lambda node: not _of_network(node), nodes)]
    network = [node for node in behind if _of_network(node)]
    tail = [node for node in behind if not _of_network(node)]
    if not network:
        raise ValueError("there is no network in the graph")
    weights = {each.name: each for each in model.graph.initializer}
    _drop_empty(network, weights)
    made = {name for node in network for name in node.output}
    taken = {name for node in network for name in node.input if name and name not in made | weights.keys()}
    given = {name for node in tail for name in node.input} & made
    own = {name for node in network for name in node.input} & weights.keys()
    part = helper.make_model(
        helper.make_graph(network, "network", _floats(taken), _floats(given), [weights[name] for name in sorted(own)]),
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
    )
    halved = convert_float_to_float16(part, keep_io_types=True).graph
    # It casts a value for each node that takes it, to the same name.
    unique = {node.output[0]: node for node in halved.node}.values()
    around = {name for node in (*front, *tail) for name in node.input}
    kept = [each for name, each in weights.items() if name not in own or name in around]
    for repeated in (model.graph.node, model.graph.initializer, model.graph.value_info):
        repeated.clear()
    model.graph.node.extend([*front, *_ordered(unique, taken, {each.name for each in halved.initializer}), *tail])
    model.graph.initializer.extend([*kept, *halved.initializer])
    return bytes(model.SerializeToString())


def only_around(graph: bytes) -> set[str]:
    """The types of the nodes in front of the network and behind it that the network itself has none of."""
    nodes = onnx.load_model_from_string(graph).graph.node
    return {node.op_type for node in nodes} - {node.op_type for node in nodes if _of_network(node)}


def drift(whole: Floats, half: Floats) -> str:
    """How the answers of 16 bits are another's than those of 32 to the same rows; nothing where they are the same."""
    if not np.isfinite(half).all():
        return "it answers values that are no numbers"
    if whole.ndim == 2:
        cosine = float((whole * half).sum(axis=1).min())
        return "" if cosine >= SAME_COSINE else f"its embeddings are apart by a cosine of {cosine:.4f}"
    side = float(np.abs(whole[..., :4]).max())
    scale = np.full(whole.shape[-1], SAME_SIDE * max(side, 1.0), np.float32)
    scale[4] = SAME_SCORE
    apart = np.abs(half[:, None, : 4 * BEST] - whole[:, :BEST, None]) / scale
    if (apart.max(axis=3).min(axis=2) <= 1).all():
        return ""
    return "it finds others than the best candidates"


def _of_network(node: onnx.NodeProto) -> bool:
    return bool(node.output[0].startswith(CORE))


def _drop_empty(nodes: Iterable[onnx.NodeProto], weights: Mapping[str, TensorProto]) -> None:
    """Exporters give Resize an empty tensor, often the same one, for what they leave out. Cast, nobody could tell any
    more that it is empty.
    """
    for node in nodes:
        if node.op_type == "Resize":
            for place, name in enumerate(node.input):
                if name in weights and 0 in weights[name].dims:
                    node.input[place] = ""


def _floats(names: set[str]) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in sorted(names)]


def _ordered(nodes: Iterable[onnx.NodeProto], taken: set[str], weights: set[str]) -> list[onnx.NodeProto]:
    """The nodes, each behind those whose values it takes."""
    there, left, ordered = {"", *taken, *weights}, list(nodes), []
    while left:
        ready = [node for node in left if there.issuperset(node.input)]
        if not ready:
            raise ValueError("the nodes of the graph can't be put in an order")
        ordered += ready
        there.update(name for node in ready for name in node.output)
        left = [node for node in left if not there.issuperset(node.output)]
    return ordered
