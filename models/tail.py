"""What stands behind a network, as ONNX in its text form: its raw outputs -> the fixed-shape answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper, parser


@dataclass(frozen=True)
class Tail:
    """A graph in ONNX's text form. `heads` is what it takes: name -> shape without the leading n, all float32.

    `tables` are constants that are too long to be written out; the text uses them by their names.
    """

    heads: Mapping[str, tuple[int, ...]]
    output: str
    text: str
    tables: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)

    def graph(self) -> onnx.GraphProto:
        graph = parser.parse_graph(self.text)
        graph.initializer.extend(numpy_helper.from_array(table, name) for name, table in self.tables.items())
        return graph


def normalisation(dimensions: int) -> Tail:
    """Raw embeddings [n, d] -> embeddings float32 [n, d] of length 1; all zeros stay zeros."""
    return Tail(
        heads={"raw": (dimensions,)},
        output="embeddings",
        # Not LpNormalization: onnxruntime has none for CUDA, and the batch would travel to the CPU and back.
        text=f"""
        normalisation (float[n, {dimensions}] raw) => (float[n, {dimensions}] embeddings)
        <int64[1] axis = {{1}}, float least = {{1e-12}}>
        {{
            length = ReduceL2 <keepdims = 1> (raw, axis)
            divisor = Max (length, least)
            embeddings = Div (raw, divisor)
        }}
        """,
    )
