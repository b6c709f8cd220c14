"""`facebento detect`: real models, real files."""

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import ExifTags, Image

from cli import home
from cli.drawing import BOX
from cli.main import main

Pixels = NDArray[np.uint8]
Run = Callable[..., Result]
PROGRAM = [sys.executable, "-c", "from cli.main import main; main()"]
PROJECT = Path(__file__).parents[2]


def lines(result: Result) -> list[Any]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_all_of_a_folder_in_order_and_the_broken_one_by_name(run: Run, photos: Path) -> None:
    result = run("detect", photos, "--json")
    assert result.exit_code == 1
    told = lines(result)
    assert [Path(each["file"]).relative_to(photos).as_posix() for each in told] == [
        "a.jpg",
        "b.PNG",
        "broken.jpg",
        "more/a.jpg",
    ]
    assert [len(each.get("faces", ())) for each in told] == [1, 0, 0, 1]
    assert "truncated" in told[2]["error"]
    assert result.stderr == f"Error: {photos}/broken.jpg: {told[2]['error']}\n"
    face = told[0]["faces"][0]
    assert face["processed"] is True
    assert face["boundingBox"]["left"] < 225 < face["boundingBox"]["right"]
    assert len(face["landmarks"]) == 5


def test_people_get_a_table(run: Run, photos: Path) -> None:
    result = run("detect", photos / "a.jpg", photos / "b.PNG")
    assert result.exit_code == 0, result.output
    first, head, row, last = result.stdout.splitlines()
    assert (first, last) == (f"{photos}/a.jpg: 1 face", f"{photos}/b.PNG: no face")
    assert head.split()[:3] == ["CONFIDENCE", "LEFT", "TOP"]
    assert row.split()[0] == "1"


def test_order_and_number(run: Run, tmp_path: Path, astronaut: Pixels, grace_hopper: Pixels) -> None:
    both = np.hstack([astronaut, grace_hopper[:512]])
    Image.fromarray(both).save("both.png")
    faces = lines(run("detect", tmp_path / "both.png", "--json", "--sort", "left-to-right"))[0]["faces"]
    assert len(faces) == 2
    assert faces[0]["boundingBox"]["left"] < 512 < faces[1]["boundingBox"]["left"]
    for order, which in (("left-to-right", 0), ("area", 1)):
        found = lines(run("detect", "both.png", "--json", "--max-results", 1, "--sort", order))[0]["faces"]
        assert found == [faces[which]]


def test_standard_input(run: Run, photos: Path) -> None:
    [told] = lines(run("detect", "-", "--json", stdin=(photos / "a.jpg").read_bytes()))
    assert told["file"] == "-"
    assert len(told["faces"]) == 1


@pytest.mark.parametrize("arguments", [("nothing.jpg",), ("empty",), (".env.jpg", "--sort", "area")])
def test_what_is_not_there_is_named(run: Run, arguments: tuple[str, ...]) -> None:
    Path("empty").mkdir()
    result = run("detect", *arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"Error: {arguments[0]}: ")


@pytest.mark.parametrize(
    "arguments", [(), ("x.jpg", "--max-results", "0"), ("x.jpg", "--max-results", "751"), ("x.jpg", "--sort", "size")]
)
def test_wrong_use(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("detect", *arguments).exit_code == 2


def test_a_name_can_not_speak_to_the_terminal(run: Run) -> None:
    name = b"\x1b[2Jx\xff.jpg"
    result = run("detect", os.fsdecode(name), "--json")
    assert "\x1b" not in result.stderr
    assert "�[2Jx�.jpg" in result.stderr
    assert lines(result)[0]["file"] == "\x1b[2Jx�.jpg"


def test_one_photo_is_drawn_as_a_person_sees_it(run: Run, astronaut: Pixels) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(np.rot90(astronaut)).save("turned.jpg", exif=exif, quality=92)
    result = run("detect", "turned.jpg", "--json", "--draw", "out.png")
    box = lines(result)[0]["faces"][0]["boundingBox"]
    with Image.open("out.png") as drawn:
        assert drawn.getexif().get(ExifTags.Base.Orientation, 1) == 1
        pixels = np.asarray(drawn)
    assert pixels.shape == astronaut.shape
    middle = (box["top"] + box["bottom"]) // 2
    columns = np.flatnonzero((pixels[middle] == BOX).all(axis=1))
    assert abs(columns.min() - box["left"]) <= 2
    assert abs(columns.max() - box["right"]) <= 2
    away = np.abs(pixels[300:].astype(int) - astronaut[300:]).mean()
    assert away < 6  # a JPEG's loss, and nothing drawn


def test_many_are_drawn_into_a_folder_under_names_of_their_own(run: Run, photos: Path) -> None:
    assert run("detect", photos, photos / "a.jpg", photos / "more" / "a.jpg", "--draw", "out").exit_code == 1
    found = sorted(path.relative_to("out").as_posix() for path in Path("out").rglob("*.*"))
    assert found == ["a-2.faces.jpg", "a-3.faces.jpg", "a.faces.jpg", "b.faces.png", "more/a.faces.jpg"]


def test_a_photo_is_never_drawn_over(run: Run, photos: Path) -> None:
    before = (photos / "a.jpg").read_bytes()
    Path("link.jpg").symlink_to(photos / "a.jpg")
    os.link(photos / "a.jpg", "hard.jpg")
    for out in (photos / "a.jpg", "link.jpg", "hard.jpg"):
        result = run("detect", photos / "a.jpg", "--draw", out)
        assert result.exit_code == 2
        assert "is one of the photos" in result.stderr
    Path("out").mkdir()
    Path("out", "a.faces.jpg").symlink_to(photos / "a.jpg")
    result = run("detect", photos / "a.jpg", "--draw", "out")
    assert result.exit_code == 1
    assert "is one of the photos" in result.stderr
    assert (photos / "a.jpg").read_bytes() == before


@pytest.mark.parametrize(
    ("out", "status", "told"),
    [
        ("out.gif", 2, "must end with one of .jpg"),
        ("nowhere/out.png", 2, "there is no folder nowhere"),
        ("photos/a.jpg/", 1, "the folder can't be made: "),
    ],
)
def test_a_place_that_can_not_be_written_is_told(run: Run, photos: Path, out: str, status: int, told: str) -> None:
    result = run("detect", photos / "b.PNG", "--draw", out)
    assert result.exit_code == status
    assert told in result.stderr


def test_drawings_among_the_photos_are_refused(run: Run, photos: Path) -> None:
    for out in (photos, photos / "out"):
        result = run("detect", photos, "--draw", out)
        assert result.exit_code == 2
        assert "the next time drawings would be taken for photos" in result.stderr


def test_a_drawing_that_can_not_be_written_fails_alone(run: Run, photos: Path) -> None:
    Path("out", "a.faces.jpg").mkdir(parents=True)
    result = run("detect", photos / "a.jpg", photos / "more" / "a.jpg", "--draw", "out")
    assert result.exit_code == 1
    assert "its drawing out/a.faces.jpg can't be written: Is a directory" in result.stderr
    assert Path("out", "a-2.faces.jpg").is_file()


def test_a_drawing_that_its_format_can_not_hold_fails_alone(run: Run, photos: Path) -> None:
    Image.new("RGB", (16_400, 260)).save(photos / "wide.png")
    result = run("detect", photos / "wide.png", "--draw", "out.webp", "--max-results", "1")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {photos / 'wide.png'}: it can't be drawn into a file of WEBP's: ")


@pytest.mark.usefixtures("run")
def test_a_drawing_s_name_can_not_speak_to_the_terminal(photos: Path) -> None:
    (photos / "a.jpg").rename(photos / "\x1b[2J.jpg")
    Path("out", "\x1b[2J.faces.jpg").mkdir(parents=True)
    result = CliRunner().invoke(main, ["detect", str(photos / "\x1b[2J.jpg"), "--draw", "out"], color=True)
    assert "can't be written: Is a directory" in result.stderr
    assert "\x1b" not in result.output


def test_a_model_that_is_not_there_is_told_with_the_command(
    store_folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert store_folder.exists()
    monkeypatch.setattr(home.service_settings, "__defaults__", (tmp_path,))
    result = CliRunner().invoke(main, ["detect", str(photos / "a.jpg")])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: FACEBENTO_DETECTOR: the model centerface:")
    assert result.stderr.endswith("Run: facebento models pull centerface\n")


def many(photos: Path) -> Path:
    folder = photos.with_name("many")
    folder.mkdir()
    for number in range(300):
        (folder / f"{number:03}.jpg").symlink_to(photos / "a.jpg")
    return folder


def test_ctrl_c_ends_it_at_once_with_130_and_the_bar_is_on_the_terminal_alone(photos: Path) -> None:
    ours, theirs = pty.openpty()
    command = [*PROGRAM, "detect", str(many(photos)), "--json"]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read().decode()
        assert process.wait() == 130
    assert first["file"].endswith("000.jpg")
    assert len(rest.splitlines()) < 250
    assert all(json.loads(line)["faces"] for line in rest.splitlines())
    fcntl.fcntl(ours, fcntl.F_SETFL, os.O_NONBLOCK)
    shown = os.read(ours, 1 << 20).decode()
    os.close(ours)
    assert "/300" in shown
    assert "Traceback" not in shown


def test_a_reader_that_has_enough_ends_it_without_a_word(photos: Path) -> None:
    command = [*PROGRAM, "detect", str(many(photos)), "--json"]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


def test_help_imports_nothing_that_takes_long() -> None:
    slow = {"PIL", "aiohttp", "bench", "cv2", "onnxruntime", "rich"}
    program = f"import sys, cli.main; print({slow!r} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
