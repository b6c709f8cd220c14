"""`facebento models import`, with a detector that finds bright squares and an embedder that answers its crop."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, parser
from PIL import Image

from cli.main import main
from models import store

SIDE = 64
DETECTOR = """
    id = "squares"
    role = "detector"
    summary = "bright squares"
    licence = "MIT"
    format = "onnx"
    input = {size = 64, color = "RGB", mean = [0, 0, 0], scale = 1}
    [detector]
    decoding = "centerface"
    outputs = ["heat", "size", "offset", "points"]
    candidates = 20
    score_threshold = 0.5
    iou_threshold = 0.3
"""
EMBEDDER = """
    id = "crops"
    role = "embedder"
    summary = "the crop itself"
    licence = "For research alone"
    terms = "https://example.org/terms"
    acceptance = true
    format = "onnx"
    input = {size = 8, color = "RGB", mean = [0, 0, 0], scale = 1}
    [embedder]
    dimensions = 192
    template = [[2, 2], [6, 2], [4, 4], [2, 6], [6, 6]]
    score = {cosine = 0.5, steepness = 4}
"""
BOX_SIDE = 16.0
# Where the five points lie in the box, y and x.
POINTS = (0.3, 0.3, 0.3, 0.7, 0.5, 0.5, 0.7, 0.35, 0.7, 0.65)
Run = Callable[..., Result]


EVENLY = (1 / 3, 1 / 3, 1 / 3)


def squares(
    channels: tuple[float, float, float] = EVENLY, points: tuple[float, ...] = POINTS, heat: float = 0.0
) -> bytes:
    """CenterFace's heads: the heat of a cell is how bright it is, 0 to 1, by channel, more or less by `heat`; boxes of
    16 x 16 pixels.
    """
    nodes, weights, outputs = [], [], []
    heads = {"heat": [heat], "size": [np.log(BOX_SIDE / 4)] * 2, "offset": [0.0] * 2, "points": points}
    for name, bias in heads.items():
        kernel = np.zeros((len(bias), 3, 4, 4), np.float32)
        if name == "heat":
            kernel[0] = np.array(channels)[:, None, None] / (16 * 255)
        weights.append(numpy_helper.from_array(kernel, f"{name}.weight"))
        weights.append(numpy_helper.from_array(np.array(bias, np.float32), f"{name}.bias"))
        nodes.append(helper.make_node("Conv", ["image", f"{name}.weight", f"{name}.bias"], [name], strides=[4, 4]))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", len(bias), 16, 16]))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])
    graph = helper.make_graph(nodes, "squares", [image], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    source: bytes = model.SerializeToString()
    return source


def flat() -> bytes:
    text = '<ir_version: 8, opset_import: ["" : 18]> g (float[n, 3, 8, 8] a) => (float[n, 192] b) { b = Flatten (a) }'
    source: bytes = parser.parse_model(text).SerializeToString()
    return source


def photo(path: Path, *squares: tuple[int, int], color: tuple[int, int, int] = (255, 255, 255)) -> Path:
    """A dark picture with these cells lit up, by column and row."""
    pixels = np.full((SIDE, SIDE, 3), 20, np.uint8)
    for x, y in squares:
        pixels[4 * y : 4 * y + 4, 4 * x : 4 * x + 4] = color
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, store_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not list(store_folder.iterdir())
    monkeypatch.chdir(tmp_path)  # no .env there
    monkeypatch.setenv("FACEBENTO_DEVICE", "cpu")
    monkeypatch.setenv("FACEBENTO_DETECTOR", "squares")


@pytest.fixture
def detector(tmp_path: Path) -> Run:
    return described(tmp_path, "squares", squares(), DETECTOR)


@pytest.fixture
def embedder(tmp_path: Path) -> Run:
    return described(tmp_path, "crops", flat(), EMBEDDER)


def described(folder: Path, name: str, source: bytes, description: str) -> Run:
    """A command that imports a file of that description."""
    file, toml = folder / f"{name}.onnx", folder / f"{name}.toml"
    file.write_bytes(source)
    toml.write_text(description)
    return lambda *more: CliRunner().invoke(
        main, ["models", "import", str(file), "--description", str(toml), *map(str, more)], catch_exceptions=False
    )


def test_a_dry_run_shows_the_faces_and_stores_nothing(tmp_path: Path, detector: Run, store_folder: Path) -> None:
    one, two = photo(tmp_path / "one.png", (8, 4)), photo(tmp_path / "two.png", (3, 3), (12, 10))
    ended = detector("--dry-run", one, two)
    assert ended.exit_code == 0
    lines = ended.output.splitlines()
    assert re.fullmatch(rf"{one}: 64 x 64 pixels: 1 face in \d+ ms", lines[2])
    assert lines[3].split()[:6] == ["CONFIDENCE", "LEFT", "TOP", "RIGHT", "BOTTOM", "LEFT"]
    # The cell's centre is at 34, 18; a point is told by the pixel it lies in.
    assert lines[4].split() == ["1", "1.000", "26", "10", "42", "26", "30,14", "37,14", "34,18", "31,21", "36,21"]
    assert "2 faces" in lines[5]
    assert lines[-1] == "squares: nothing was stored, as this was a dry run"
    assert not list(store_folder.iterdir())


def test_the_faces_are_drawn_into_the_photos(tmp_path: Path, detector: Run) -> None:
    photos = [photo(tmp_path / "one.png", (8, 4)), photo(tmp_path / "two.png", (3, 10))]
    assert detector("--dry-run", *photos, "--draw", tmp_path / "out.png").exit_code == 0
    drawn = read(tmp_path / "out.png")
    assert drawn.shape == (64, 128, 3)
    assert (drawn[26, 26:42] == (0, 230, 118)).all()  # the lower side of the box
    assert (drawn[18, 34] == (255, 214, 0)).all()  # the nose
    assert (drawn[50, 64 + 6 : 64 + 22] == (0, 230, 118)).all()


@pytest.mark.parametrize(
    ("channels", "color", "told"),
    [
        (
            EVENLY,
            (90, 90, 90),
            r"scores are [\d.]+ to 0\.353, and a face counts above 0\.5\n.*doubt.*: `mean` and `scale`",
        ),
        (
            (1, 0, 0),
            (20, 20, 255),
            r"scores are [\d.]+ to 0\.0784, .*\n.*the other way round the best is 1: doubt `color`",
        ),
    ],
)
def test_what_to_doubt_where_no_face_is_found(
    tmp_path: Path, channels: tuple[float, float, float], color: tuple[int, int, int], told: str
) -> None:
    run = described(tmp_path, "squares", squares(channels), DETECTOR)
    ended = run("--dry-run", photo(tmp_path / "one.png", (8, 4), color=color))
    assert "no face" in ended.output
    assert re.search(told, ended.output)


@pytest.mark.parametrize(("heat", "found"), [(3.0, "face"), (-3.0, "no face")])
def test_scores_that_are_none_are_told(tmp_path: Path, heat: float, found: str) -> None:
    run = described(tmp_path, "squares", squares(heat=heat), DETECTOR)
    ended = run("--dry-run", photo(tmp_path / "one.png", (8, 4)))
    assert found in ended.output
    assert re.search(r"its scores are .*, not 0 to 1: doubt `outputs` \(their order\) and `decoding`", ended.output)


def test_a_model_that_answers_no_numbers_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.pull.check_batches", lambda _: None)  # it answers numbers there
    run = described(tmp_path, "squares", squares(EVENLY, (float("inf"),) * 10), DETECTOR)
    ended = run("--dry-run", photo(tmp_path / "one.png", (8, 4)))
    assert ended.exit_code == 1
    assert ended.stderr.startswith(f"Error: {tmp_path}/one.png: The detector failed: it answered no numbers.")
    assert ended.stderr.endswith("Doubt `mean`, `scale`, `outputs` (their order) and `decoding`\n")


def test_points_beside_their_boxes_are_told(tmp_path: Path) -> None:
    run = described(tmp_path, "squares", squares(EVENLY, tuple(9 * point for point in POINTS)), DETECTOR)
    ended = run("--dry-run", photo(tmp_path / "one.png", (8, 4)))
    assert "1 with points far outside the box: doubt `outputs` (their order), `decoding`" in ended.output


def test_an_embedder_is_tried_on_the_faces_of_the_stored_detector(
    tmp_path: Path, detector: Run, embedder: Run, store_folder: Path
) -> None:
    assert detector().exit_code == 0
    photos = [photo(tmp_path / "a.png", (8, 4)), photo(tmp_path / "b.png", (3, 3)), photo(tmp_path / "none.png")]
    ended = embedder("--accept-license", "--dry-run", *photos, "--draw", "crops.png")
    assert ended.exit_code == 0, ended.output
    lines = ended.output.splitlines()[2:]  # the terms come first
    assert re.fullmatch(
        rf"{photos[0]}: the face at 26,10 to 42,26, cropped to 8 x 8: 192 dimensions, of length [\d.e+]+ before they "
        r"are normalised, in \d+ ms",
        lines[2],
    )
    assert lines[4] == f"{photos[2]}: squares finds no face"
    assert lines[6].split() == [str(photos[0]), str(photos[1]), "1.0000", "1.0000"]
    crops = read(tmp_path / "crops.png")
    assert crops.shape == (8, 16, 3)
    told = float(re.findall(r"of length ([\d.e+]+)", ended.output)[0])
    assert told == pytest.approx(np.linalg.norm(crops[:, :8].astype(float)), rel=0.01)
    assert [folder.name for folder in store_folder.iterdir()] == ["squares"]


def test_an_embedder_needs_a_detector_that_is_stored(tmp_path: Path, embedder: Run) -> None:
    ended = embedder("--accept-license", "--dry-run", photo(tmp_path / "a.png", (8, 4)))
    assert (ended.exit_code, ended.stderr[:35]) == (1, "Error: no model is called 'squares'")


def test_a_photo_that_is_none_is_told_in_one_line(tmp_path: Path, detector: Run) -> None:
    (tmp_path / "text.png").write_text("no picture")
    ended = detector("--dry-run", tmp_path / "text.png")
    assert ended.exit_code == 1
    assert ended.stderr == (
        f"Error: {tmp_path}/text.png: This is not a JPEG, PNG, WebP or BMP file. Convert it to one of these.\n"
    )


def test_a_drawing_that_can_not_be_written_is_told(tmp_path: Path, detector: Run) -> None:
    ended = detector("--dry-run", photo(tmp_path / "one.png", (8, 4)), "--draw", tmp_path / "none" / "out.png")
    assert ended.exit_code == 1
    assert ended.stderr.startswith(f"Error: can't write {tmp_path}/none/out.png: No such file or directory")


@pytest.mark.parametrize(
    ("more", "told"), [(["PHOTO"], "are for a --dry-run"), (["--dry-run", "--draw", "x.png"], "name one")]
)
def test_options_that_make_no_sense_are_refused(tmp_path: Path, detector: Run, more: list[str], told: str) -> None:
    file = photo(tmp_path / "one.png")
    ended = detector(*[str(file) if each == "PHOTO" else each for each in more])
    assert ended.exit_code == 2
    assert told in ended.stderr


def test_a_dry_run_without_photos_prepares_and_checks(detector: Run, store_folder: Path) -> None:
    assert detector("--dry-run").output.splitlines() == [
        "squares: preparing",
        "squares: checking that batches answer like single images",
        "squares: nothing was stored, as this was a dry run",
    ]
    assert not list(store_folder.iterdir())


def test_a_description_that_does_not_fit_is_told_in_one_line_with_what_would(tmp_path: Path) -> None:
    run = described(tmp_path, "squares", squares(), DETECTOR.replace('"heat"', '"score"'))
    ended = run("--dry-run")
    assert ended.exit_code == 1
    assert ended.stderr.count("\n") == 1
    assert "expected an output 'score', found heat, size, offset, points." in ended.stderr
    assert 'fit decoding = "centerface", perhaps with outputs = ["heat", "size", "offset", "points"]' in ended.stderr


@pytest.mark.parametrize("how", [[], ["--dry-run"]])
def test_a_licence_has_to_be_accepted_to_import_and_to_try(embedder: Run, how: list[str]) -> None:
    refused = embedder(*how)
    assert refused.exit_code == 1
    assert refused.stdout.splitlines() == [
        "crops: licence: For research alone",
        "crops: terms: https://example.org/terms",
    ]
    assert refused.stderr.endswith(" ".join(["crops.toml", *how, "--accept-license\n"]))
    assert embedder(*how, "--accept-license").exit_code == 0
    assert [each.description.id for each in store.stored()] == ([] if how else ["crops"])


def read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)
