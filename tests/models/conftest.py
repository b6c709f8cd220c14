"""Tiny models with their descriptions, CenterFace's decoding in plain numpy, an HTTP server, temporary files."""

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.catalog import ModelDescription

# Before any test imports onnxruntime, which reports to its makers otherwise.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

Floats = npt.NDArray[np.float32]
Decode = Callable[[Floats, Floats, Floats, Floats], Floats]


@pytest.fixture
def detector_fields() -> dict[str, Any]:
    return {
        "id": "tiny-detector",
        "role": "detector",
        "summary": "four convolutions",
        "licence": "CC0-1.0",
        "sha256": "0" * 64,
        "format": "onnx",
        "input": {"size": 64, "color": "RGB", "mean": [0, 0, 0], "scale": 1},
        "detector": {
            "decoding": "centerface",
            "outputs": ["heat", "size", "offset", "points"],
            "candidates": 20,
            "score_threshold": 0.5,
            "iou_threshold": 0.3,
        },
    }


@pytest.fixture
def embedder_fields() -> dict[str, Any]:
    return {
        "id": "tiny-embedder",
        "role": "embedder",
        "summary": "the picture itself",
        "licence": "CC0-1.0",
        "sha256": "0" * 64,
        "format": "onnx",
        "input": {"size": 2, "color": "RGB", "mean": [0, 0, 0], "scale": 1},
        "embedder": {
            "dimensions": 12,
            "template": [[0.5, 0.5], [1.5, 0.5], [1, 1], [0.5, 1.5], [1.5, 1.5]],
            "score": {"cosine": 0.5, "steepness": 4},
        },
    }


@pytest.fixture
def detector(detector_fields: dict[str, Any]) -> ModelDescription:
    return ModelDescription.model_validate(detector_fields)


@pytest.fixture
def embedder(embedder_fields: dict[str, Any]) -> ModelDescription:
    return ModelDescription.model_validate(embedder_fields)


@pytest.fixture
def detector_file() -> bytes:
    """CenterFace's heads as four random convolutions, in the shape of its own file: opset 9, fixed input."""
    random = np.random.default_rng(1)
    nodes, weights, outputs = [], [], []
    for name, channels in (("heat", 1), ("size", 2), ("offset", 2), ("points", 10)):
        kernel = random.normal(0, 0.002, (channels, 3, 4, 4)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"{name}.weight"))
        nodes.append(helper.make_node("Conv", ["image", f"{name}.weight"], [name], strides=[4, 4]))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [10, channels, 8, 8]))
    weights.append(numpy_helper.from_array(np.array(7, np.int64), "batches_tracked"))
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [10, 3, 32, 32])]
    inputs += [helper.make_tensor_value_info(each.name, each.data_type, each.dims) for each in weights]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=4)
    source: bytes = model.SerializeToString()
    return source


@pytest.fixture
def embedder_file() -> bytes:
    """Its embedding is its input, flattened."""
    text = """
        <ir_version: 8, opset_import: ["" : 17]>
        tiny (float[n, 3, 2, 2] image) => (float[n, 12] raw) { raw = Flatten (image) }
    """
    source: bytes = onnx.parser.parse_model(text).SerializeToString()
    return source


@pytest.fixture
def decode_centerface() -> Decode:
    return _decode_centerface


def _decode_centerface(heat: Floats, size: Floats, offset: Floats, points: Floats) -> Floats:
    """One image's heads, [1 | 2 | 2 | 10, h, w] -> a row per peak, by falling score: written cell by cell."""
    rows = []
    padded = np.pad(heat[0], 1, constant_values=-np.inf)
    for y, x in np.ndindex(heat.shape[1:]):
        score = heat[0, y, x]
        if score < padded[y : y + 3, x : x + 3].max():
            continue
        height, width = 4 * np.exp(size[:, y, x])
        left = (x + offset[1, y, x] + 0.5) * 4 - width / 2
        top = (y + offset[0, y, x] + 0.5) * 4 - height / 2
        marks = [
            place
            for i in range(5)
            for place in (left + width * points[2 * i + 1, y, x], top + height * points[2 * i, y, x])
        ]
        rows.append([left, top, left + width, top + height, score, *marks])
    return np.array(sorted(rows, key=lambda row: -row[4]), np.float32)


@pytest.fixture
def original_models(pytestconfig: pytest.Config) -> Path | None:
    """The folder of --original-models."""
    folder: Path | None = pytestconfig.getoption("--original-models")
    return folder


class Web:
    """An HTTP server on this machine: what it answers by path, and the paths that it was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append(self.path)
                web.answer(self)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        data = self.files.get(request.path)
        if data is None:
            request.send_error(404)
            return
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    served = Web()
    thread = threading.Thread(target=served.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.server.shutdown()
    thread.join()
    served.server.server_close()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go, to see that none stays."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder
