import os
import subprocess
import sys
from pathlib import Path

import pytest
from onnx import parser

from models.catalog import ModelDescription
from models.check import check_batches
from models.errors import BatchMismatchError, GraphMismatchError
from models.prepare import prepare


def prepared(text: str) -> bytes:
    source: bytes = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}').SerializeToString()
    return source


def test_sound_graphs_pass(
    embedder: ModelDescription, embedder_file: bytes, detector: ModelDescription, detector_file: bytes
) -> None:
    check_batches(prepare(embedder, embedder_file).SerializeToString())
    check_batches(prepare(detector, detector_file).SerializeToString())


def test_an_embedder_whose_rows_mix_is_refused(embedder: ModelDescription) -> None:
    source = prepared("""
        mixed (float[n, 3, 2, 2] image) => (float[n, 12] raw)
        { mean = ReduceMean <axes = [0]> (image) far = Sub (image, mean) sum = Add (far, image) raw = Flatten (sum) }
    """)
    with pytest.raises(BatchMismatchError, match="exported for single images"):
        check_batches(prepare(embedder, source).SerializeToString())


def test_a_detector_that_answers_the_first_row_for_all_is_refused() -> None:
    graph = prepared("""
        first (uint8[n, 3, 5, 3] canvases) => (float[n, 3, 15] candidates)
        <int64 zero = {0}, int64[3] shape = {-1, 3, 15}>
        {
            values = Cast <to = 1> (canvases)
            one = Gather <axis = 0> (values, zero)
            none = Sub (values, values)
            all = Add (none, one)
            thrice = Concat <axis = 1> (all, all, all)
            candidates = Reshape (thrice, shape)
        }
    """)
    with pytest.raises((BatchMismatchError, GraphMismatchError)):
        check_batches(graph)


def test_a_graph_that_cannot_run_as_a_batch_is_refused() -> None:
    graph = prepared("""
        fixed (uint8[n, 2, 2, 3] crops) => (float[n, 12] embeddings)
        <int64[2] shape = {1, 12}>
        { values = Cast <to = 1> (crops) embeddings = Reshape (values, shape) }
    """)
    with pytest.raises(GraphMismatchError, match="onnxruntime can't run"):
        check_batches(graph)


def test_answers_that_are_no_numbers_are_refused(embedder: ModelDescription) -> None:
    source = prepared("""
        nan (float[n, 3, 2, 2] image) => (float[n, 12] raw)
        { none = Sub (image, image) nothing = Div (none, none) raw = Flatten (nothing) }
    """)
    with pytest.raises(GraphMismatchError, match="not finite"):
        check_batches(prepare(embedder, source).SerializeToString())


def test_bytes_that_are_no_graph_are_refused() -> None:
    with pytest.raises(GraphMismatchError, match="onnxruntime can't run"):
        check_batches(b"nothing")


def test_onnxruntime_reports_nothing(tmp_path: Path) -> None:
    """Its telemetry leaves a session file among the temporary ones as soon as it starts."""
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    subprocess.run(
        [sys.executable, "-c", "import models.check"], env=environment | {"TMPDIR": str(tmp_path)}, check=True
    )
    assert list(tmp_path.iterdir()) == []
