from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper, parser

from models import outline
from models.catalog import ModelDescription
from models.decoding import DECODINGS

Fields = dict[str, Any]


def graph(outputs: dict[str, tuple[int, ...]]) -> bytes:
    """A file with these outputs, in that order."""

    def listed(ending: str) -> str:
        return ", ".join(f"float[{', '.join(map(str, shape))}] {name}{ending}" for name, shape in outputs.items())

    lines = "\n".join(f"{name} = Relu ({name}_weights)" for name in outputs)
    model = parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[1, 3, 32, 32] picture, {listed("_weights")}) => ({listed("")}) {{ {lines} }}
    """)
    # As older exporters list weights among the inputs.
    for name, shape in outputs.items():
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(shape, np.float32), f"{name}_weights"))
    source: bytes = model.SerializeToString()
    return source


def grid(kinds: dict[str, int], anchors: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{kind}_{stride}": (anchors * (64 // stride) ** 2, width)
        for kind, width in kinds.items()
        for stride in (32, 8, 16)
    }


FAMILIES: dict[str, dict[str, tuple[int, ...]]] = {
    "centerface": {"points": (1, 10, 16, 16), "heat": (1, 1, 16, 16), "size": (1, 2, 16, 16), "offset": (1, 2, 16, 16)},
    "retinaface": {"conf": (1, 168, 2), "loc": (1, 168, 4), "landms": (1, 168, 10)},
    "scrfd": grid({"bbox": 4, "score": 1, "kps": 10}, 2),
    "yunet": grid({"obj": 1, "cls": 1, "bbox": 4, "kps": 10}, 1),
}
ORDERS = {
    "centerface": ["heat", "size", "offset", "points"],
    "retinaface": ["loc", "conf", "landms"],
    "scrfd": [f"{kind}_{stride}" for kind in ("score", "bbox", "kps") for stride in (8, 16, 32)],
    "yunet": [f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32)],
}


@pytest.mark.parametrize("decoding", DECODINGS)
def test_a_family_is_recognised_with_the_order_that_its_decoding_takes(
    detector: ModelDescription, decoding: str
) -> None:
    told = outline.told(graph(FAMILIES[decoding]), detector)
    order = ", ".join(f'"{name}"' for name in ORDERS[decoding])
    assert told.startswith("The graph takes picture [1, 3, 64, 64] and gives ")
    assert f'decoding = "{decoding}", perhaps with outputs = [{order}]' in told


def test_a_real_shape_is_inferred_for_the_described_size(detector: ModelDescription, detector_file: bytes) -> None:
    told = outline.told(detector_file, detector)
    assert "takes image [1, 3, 64, 64]" in told
    assert "heat [1, 1, 16, 16]" in told


def test_an_embedder_is_recognised(detector: ModelDescription) -> None:
    told = outline.told(graph({"fc1": (1, 512)}), detector)
    assert told.endswith('So it looks like an embedder: role = "embedder", dimensions = 512')


def test_what_is_not_recognised_is_only_listed(detector: ModelDescription) -> None:
    told = outline.told(graph({"a": (1, 7), "b": (1, 8)}), detector)
    assert told == "The graph takes picture [1, 3, 64, 64] and gives a [1, 7], b [1, 8]."


@pytest.mark.parametrize("source", [b"", b"no graph", b"\xff" * 100])
def test_what_is_no_graph_has_none(detector: ModelDescription, source: bytes) -> None:
    assert outline.told(source, detector) == ""
