import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from onnx import parser

from api.settings import Settings
from models import check
from models.catalog import ModelDescription
from models.check import LARGEST, check_batches
from models.errors import BatchMismatchError, GraphMismatchError
from models.prepare import prepare
from runners.cuda import buckets

batches_tried = check._batches

Make = Callable[[str, str], bytes]

ALL_BUCKETS = 32

# Each makes y out of x, float32 [n, k], a row for each image: constants, then steps.
WRONG = {
    "normalised over the batch": (
        "float half = {0.5}",
        "m = ReduceMean <axes = [0]> (x) t = Mul (m, half) y = Sub (x, t)",
    ),
    "a twentieth of the batch": (
        "float part = {0.05}",
        "m = ReduceMean <axes = [0]> (x) t = Mul (m, part) y = Add (x, t)",
    ),
    "the brightest of all": ("", "m = ReduceMax <axes = [0]> (x) y = Max (x, m)"),
    "the first row for all": (
        "int64[1] zero = {0}, int64[1] one = {1}",
        "first = Slice (x, zero, one, zero) none = Sub (x, x) y = Add (first, none)",
    ),
    "the first row only": ("int64[1] zero = {0}, int64[1] one = {1}", "y = Slice (x, zero, one, zero)"),
    "from the last row to the first": (
        "int64[1] last = {-1}, int64[1] before = {-999}, int64[1] zero = {0}",
        "y = Slice (x, last, before, zero, last)",
    ),
    "each row one place further": (
        "int64[1] zero = {0}, int64[1] one = {1}, int64[1] far = {999}",
        "a = Slice (x, zero, one, zero) b = Slice (x, one, far, zero) y = Concat <axis = 0> (b, a)",
    ),
    "the inner rows turned round": (
        """
        int64[1] zero = {0}, int64[1] one = {1}, int64[1] last = {-1}, int64[1] before = {-2}, int64[1] far = {999}
        """,
        """
        a = Slice (x, zero, one, zero) inner = Slice (x, before, zero, zero, last)
        rest = Slice (x, one, far, zero) z = Slice (rest, last, far, zero) y = Concat <axis = 0> (a, inner, z)
        """,
    ),
    "other where a row is blank": (
        "float one = {1}",
        """
        brightest = ReduceMax <axes = [1], keepdims = 0> (x) darkest = ReduceMin <axes = [0], keepdims = 0> (brightest)
        blank = Less (darkest, one) m = ReduceMean <axes = [0]> (x) mixed = Sub (x, m) y = Where (blank, mixed, x)
        """,
    ),
    "a twentieth of the batch, of pictures that are much alike": (
        "float part = {0.05}, float light = {1000}",
        """
        bright = Add (x, light) m = ReduceMean <axes = [0]> (bright) t = Mul (m, part) y = Add (bright, t)
        """,
    ),
    "rows and columns mixed up": (
        "int64 zero = {0}, int64[1] back = {-1}, int64[1] flat = {0}",
        """
        shape = Shape (x) n = Gather (shape, zero) count = Unsqueeze (n, flat)
        columns = Concat <axis = 0> (back, count) a = Reshape (x, columns) y = Transpose <perm = [1, 0]> (a)
        """,
    ),
    "one image's shape": ("int64[2] s = {1, 75}", "y = Reshape (x, s)"),
}


def prepared(text: str) -> bytes:
    source: bytes = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}').SerializeToString()
    return source


def embedder_of(constants: str, steps: str) -> bytes:
    return prepared(f"""
        tiny (uint8[n, 5, 5, 3] crops) => (float[n, 75] embeddings)
        <float least = {{1e-12}}{f", {constants}" if constants else ""}>
        {{
            values = Cast <to = 1> (crops)
            x = Flatten (values)
            {steps}
            length = ReduceL2 <axes = [1]> (y)
            divisor = Max (length, least)
            embeddings = Div (y, divisor)
        }}
    """)


def detector_of(constants: str, steps: str) -> bytes:
    """Five candidates of a canvas of 5 x 5 pixels, made of what it shows."""
    return prepared(f"""
        tiny (uint8[n, 5, 5, 3] canvases) => (float[n, 5, 15] candidates)
        <int64[3] rows = {{-1, 5, 15}}{f", {constants}" if constants else ""}>
        {{
            values = Cast <to = 1> (canvases)
            x = Flatten (values)
            {steps}
            candidates = Reshape (y, rows)
        }}
    """)


def from_size(size: int) -> tuple[str, str]:
    """Rows are mixed in batches of so many rows or more, and in no smaller ones."""
    return (
        f"int64 size = {{{size}}}, int64 zero = {{0}}",
        """
        shape = Shape (x) n = Gather (shape, zero) large = GreaterOrEqual (n, size)
        m = ReduceMean <axes = [0]> (x) mixed = Sub (x, m) y = Where (large, mixed, x)
        """,
    )


@pytest.mark.parametrize("make", [embedder_of, detector_of])
def test_a_graph_that_treats_each_row_alone_passes(make: Make) -> None:
    check_batches(make("", "y = Identity (x)"), largest=ALL_BUCKETS)


def test_sound_graphs_pass(
    embedder: ModelDescription, embedder_file: bytes, detector: ModelDescription, detector_file: bytes
) -> None:
    check_batches(prepare(embedder, embedder_file).SerializeToString(), largest=ALL_BUCKETS)
    check_batches(prepare(detector, detector_file).SerializeToString(), largest=ALL_BUCKETS)


@pytest.mark.parametrize("make", [embedder_of, detector_of])
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_graph_whose_rows_depend_on_each_other_or_on_their_place_is_refused(
    make: Make, wrong: tuple[str, str]
) -> None:
    with pytest.raises(BatchMismatchError, match="exported for single images"):
        check_batches(make(*wrong))


@pytest.mark.parametrize("make", [embedder_of, detector_of])
@pytest.mark.parametrize("size", [2, 3, 4, 5, 8, 9, 16])
def test_rows_that_mix_from_some_size_of_a_batch_on_are_found(make: Make, size: int) -> None:
    with pytest.raises(BatchMismatchError, match=r"of a batch of (2|3|4|8|16) gives other"):
        check_batches(make(*from_size(size)))


@pytest.mark.parametrize("size", [17, 32])
def test_embedders_are_tried_in_larger_batches(size: int) -> None:
    with pytest.raises(BatchMismatchError, match="of a batch of 32 gives other"):
        check_batches(embedder_of(*from_size(size)))


@pytest.mark.parametrize("size", [17, ALL_BUCKETS])
def test_larger_batches_are_tried_where_they_are_asked_for(size: int) -> None:
    wrong = detector_of(*from_size(size))
    check_batches(wrong)
    with pytest.raises(BatchMismatchError, match=r"of a batch of 32 gives other"):
        check_batches(wrong, largest=ALL_BUCKETS)


def test_every_size_is_tried_that_serving_pads_to_by_default() -> None:
    roles = {"candidates": "detector", "embeddings": "embedder"}
    for answer, role in roles.items():
        default = Settings.model_fields[f"{role}_batch_size"].default
        assert LARGEST[answer] == default
        assert {*buckets(default)} - {1} <= {len(batch) for batch in batches_tried(default)}


def test_foreign_candidates_before_a_row_s_own_are_found() -> None:
    """The row's own best are all there, behind what is another row's."""
    foreign = """
        wide (uint8[n, 5, 5, 3] canvases) => (float[n, 64, 15] candidates)
        <int64[3] rows = {-1, 1, 75}, int64[3] all = {1, 13, 1}, int64 zero = {0}, int64 one = {1},
            int64[1] least = {0}, int64[1] end = {960}, int64[1] axis = {1}, int64[3] out = {-1, 64, 15},
            int64[2] flat = {-1, 975}, float none = {0}, int64[1] tenth = {16}, int64[1] far = {64}>
        {
            values = Cast <to = 1> (canvases)
            x = Reshape (values, rows)
            many = Expand (x, all)
            long = Reshape (many, flat)
            cut = Slice (long, least, end, axis)
            own = Reshape (cut, out)
            shape = Shape (own) n = Gather (shape, zero) alone = Equal (n, one)
            brightest = ReduceMax <axes = [0]> (own)
            front = Where (alone, own, brightest)
            new = Slice (front, least, tenth, axis)
            kept = Slice (own, least, end, axis)
            joined = Concat <axis = 1> (new, kept)
            candidates = Slice (joined, least, far, axis)
        }
    """
    with pytest.raises(BatchMismatchError, match="gives other candidates"):
        check_batches(prepared(foreign))


# What makes the same, or all but, of every picture: a sign of weights that were lost, and nothing could be seen.
UNTOLD = {
    "nothing": ("float zero = {0}", "y = Mul (x, zero)"),
    "the same": ("float zero = {0}, float one = {1}", "none = Mul (x, zero) y = Add (none, one)"),
    "a batch's mean behind a large bias": (
        "float least_part = {0.0001}, float one = {1}, float zero = {0}",
        """
        m = ReduceMean <axes = [0]> (x) none = Mul (x, zero) mixed = Add (none, m) small = Mul (mixed, least_part)
        y = Add (small, one)
        """,
    ),
}


@pytest.mark.parametrize("untold", UNTOLD.values(), ids=UNTOLD)
def test_answers_that_can_not_be_told_apart_are_refused(untold: tuple[str, str]) -> None:
    with pytest.raises(GraphMismatchError, match="different pictures with the same embeddings"):
        check_batches(embedder_of(*untold))


def test_a_detector_that_answers_every_picture_alike_is_refused() -> None:
    with pytest.raises(GraphMismatchError, match="different pictures with the same candidates"):
        check_batches(detector_of(*UNTOLD["the same"]))


def test_a_graph_that_can_only_run_with_one_row_is_refused() -> None:
    with pytest.raises(BatchMismatchError, match=r"a batch of 2 can't be run .*exported for single images"):
        check_batches(detector_of("int64[2] s = {1, 75}", "y = Reshape (x, s)"))


def test_answers_that_are_no_numbers_are_refused(embedder: ModelDescription) -> None:
    source = prepared("""
        nan (float[n, 3, 2, 2] image) => (float[n, 12] raw)
        { none = Sub (image, image) nothing = Div (none, none) raw = Flatten (nothing) }
    """)
    with pytest.raises(GraphMismatchError, match="not finite"):
        check_batches(prepare(embedder, source).SerializeToString())


def test_a_graph_that_does_not_answer_what_it_promises_is_refused() -> None:
    graph = prepared("""
        short (uint8[n, 5, 5, 3] crops) => (float[n, 74] embeddings)
        <int64[2] shape = {-1, 75}>
        { values = Cast <to = 1> (crops) embeddings = Reshape (values, shape) }
    """)
    with pytest.raises(
        GraphMismatchError, match=r"onnxruntime can't run|to be float32 \[1, .*\], found float32 \[1, 75\]"
    ):
        check_batches(graph)


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
