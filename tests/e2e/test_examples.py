"""The programs in examples/, run as their README tells, against a real service."""

import asyncio
import json
import shlex
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from examples import bulk_embed, enrol_verify, webcam
from facebento_client import AsyncClient, AuthenticationError, MultiEmbeddingsResult, NoAnswerInTimeError
from tests.e2e.running import PROJECT, Server, jpeg

pytestmark = pytest.mark.e2e

Pixels = NDArray[np.uint8]
PROGRAMS = {"enrol_verify.py": enrol_verify.main, "bulk_embed.py": bulk_embed.main, "webcam.py": webcam.main}
Run = Callable[[str], int]


@pytest.fixture
def run(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, astronaut: Pixels, grace_hopper: Pixels
) -> Run:
    """Run a command of the README, in a folder with the pictures that it names; the answer is its exit status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACEBENTO_API_KEY", server.key)
    face = astronaut[40:200, 150:310]
    Path("photo.jpg").write_bytes(jpeg(face))
    Path("door.jpg").write_bytes(jpeg(np.ascontiguousarray(face[:, ::-1]), quality=60))
    Path("somebody.jpg").write_bytes(jpeg(grace_hopper))

    def run(command: str) -> int:
        python, program, *arguments = shlex.split(command)
        assert python == "python"
        return PROGRAMS[program.removeprefix("examples/")]([*arguments, "--url", server.url])

    return run


def commands(program: str) -> list[str]:
    """Those of the README that run it."""
    lines = (PROJECT / "examples" / "README.md").read_text(encoding="utf-8").splitlines()
    found = [line for line in lines if line.startswith(f"python examples/{program}")]
    assert found
    return found


def rows(query: str) -> list[Any]:
    with closing(sqlite3.connect("people.db")) as people:
        return people.execute(query).fetchall()


def test_enrol_verify_identify_forget(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    enrol, verify, identify, forget = commands("enrol_verify.py")
    assert run(enrol) == 0
    assert capsys.readouterr().out == "eileen: enrolled by 1 photograph\n"
    [(kept,)] = rows("SELECT data FROM feature")
    assert Path("people.db").stat().st_mode & 0o777 == 0o600
    assert run(verify) == 0
    assert run(verify.replace("door.jpg", "somebody.jpg")) == 1
    assert run(identify) == 0
    assert run(identify.replace("door.jpg", "somebody.jpg")) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0].endswith(": eileen")
    assert told[1].endswith(": not eileen")
    assert told[2].endswith(": eileen")
    assert told[3].endswith(": nobody who is enrolled")
    # Options of all commands may stand on either side of the command.
    assert run(f"{verify} --threshold 1.5") == 1
    assert run(verify.replace(" verify", " --threshold 1.5 verify")) == 1
    assert run(verify.replace(" verify", " --threshold 1.5 verify") + " --threshold 0.5") == 0
    assert kept in Path("people.db").read_bytes()
    assert run(forget) == 0
    assert kept[24:-4] not in Path("people.db").read_bytes()
    assert run(forget) == 1
    assert run(verify) == 2
    assert "not enrolled" in capsys.readouterr().err
    Path("people.db").write_bytes(b"something else " * 100)
    assert run(verify) == 2  # and not 1, which says that it is somebody else


def test_who_is_enrolled_must_be_alone_in_the_picture(
    run: Run, astronaut: Pixels, grace_hopper: Pixels, capsys: pytest.CaptureFixture[str]
) -> None:
    both = np.hstack([astronaut, cv2.resize(grace_hopper, (512, 512)).astype(np.uint8)])
    Path("photo.jpg").write_bytes(jpeg(both))
    assert run(commands("enrol_verify.py")[0]) == 2
    assert "shows 2 faces" in capsys.readouterr().err
    assert rows("SELECT * FROM person") == []


def test_a_folder_in_bulk_goes_on_where_it_ended(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    [command] = commands("bulk_embed.py")
    folder = Path("photos", "of may")
    folder.mkdir(parents=True)
    for name in ("photo.jpg", "somebody.jpg"):
        (folder / name.upper()).write_bytes(Path(name).read_bytes())
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no photograph", encoding="utf-8")
    assert run(command) == 1
    told = capsys.readouterr().err
    assert "broken.png: image: This is not a JPEG" in told
    assert told.endswith("\n1 photograph failed\n")

    output = Path("faces.jsonl")
    whole = output.read_text(encoding="utf-8")
    first, second = whole.splitlines(keepends=True)
    assert {json.loads(line)["path"] for line in (first, second)} == {"of may/PHOTO.JPG", "of may/SOMEBODY.JPG"}
    [face] = json.loads(first)["faces"]
    assert np.linalg.norm(face["embedding"]) == pytest.approx(1, abs=1e-3)
    with np.load("faces.npz") as arrays:
        assert arrays["embeddings"].shape == (2, len(face["embedding"]))
        assert arrays["boxes"].shape == (2, 4)
        assert arrays["paths"][0] == json.loads(first)["path"]

    # As if it had been killed while it wrote the second line.
    output.write_text(first + second[:100], encoding="utf-8")
    (folder / "broken.png").unlink()
    assert run(command) == 0
    assert "photographs: 1 done, 1 left" in capsys.readouterr().err
    assert [json.loads(line)["path"] for line in output.read_text(encoding="utf-8").splitlines()] == [
        json.loads(first)["path"],
        json.loads(second)["path"],
    ]


def test_bulk_ends_where_no_photograph_would_do_better(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("photos").mkdir()
    Path("photo.jpg").rename("photos/photo.jpg")
    monkeypatch.setenv("FACEBENTO_API_KEY", "a-wrong-one")
    with pytest.raises(AuthenticationError):
        run("python examples/bulk_embed.py photos faces.jsonl")


def test_bulk_tells_of_a_photograph_that_is_not_answered_in_time_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()

    class Late(AsyncClient):
        async def multi_embeddings(self, image: object, **_: object) -> MultiEmbeddingsResult:
            if str(image).endswith("a.jpg"):
                raise NoAnswerInTimeError("it did not answer in time")
            return MultiEmbeddingsResult((), "1")

    async def embed() -> int:
        async with Late("http://127.0.0.1:1", api_key="none") as client:
            return await bulk_embed.embed(client, tmp_path, tmp_path / "faces.jsonl", 1)

    assert asyncio.run(embed()) == 1
    assert "a.jpg: it did not answer in time\n" in capsys.readouterr().err
    assert [told["path"] for told in bulk_embed.lines(tmp_path / "faces.jsonl")] == ["b.jpg"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"path": "a", "faces": []}\n{"path": "b", "fa\n', "faces.jsonl, line 2, is damaged. Delete the line"),
        (b'{"path": "a\xff", "faces": []}\n', "line 1, is damaged"),
        (b"[]\n", "line 1, is damaged"),
        (b"My notes, without an end of the line", "faces.jsonl is not of this program"),
    ],
)
def test_bulk_says_what_is_wrong_with_its_file_and_leaves_it(tmp_path: Path, content: bytes, told: str) -> None:
    output = tmp_path / "faces.jsonl"
    output.write_bytes(content)
    with pytest.raises(SystemExit, match=told):
        bulk_embed.main([str(tmp_path), str(output)])
    assert output.read_bytes() == content


def test_bulk_takes_no_fewer_than_one_at_a_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bulk_embed.main([str(tmp_path), "faces.jsonl", "--concurrency", "0"])
    assert "argument --concurrency: must be 1 or more" in capsys.readouterr().err


def test_webcam_draws_faces_on_the_newest_frames(
    run: Run, astronaut: Pixels, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = cv2.cvtColor(astronaut[:256, 100:356], cv2.COLOR_RGB2BGR)
    writer = cv2.VideoWriter("clip.avi", cv2.VideoWriter.fourcc(*"MJPG"), 60, (256, 256))
    for _ in range(30):
        writer.write(frame)
    writer.release()
    [command] = commands("webcam.py")
    assert run(command) == 0
    _, looked_at, _, _, dropped, _ = capsys.readouterr().out.replace(",", "").split()
    assert int(looked_at) + int(dropped) == 30
    assert int(looked_at) > 0
    found = cv2.VideoCapture("found.avi")
    assert found.get(cv2.CAP_PROP_FRAME_COUNT) == int(looked_at)
    drawn = found.read()[1].astype(int)
    found.release()
    changed = abs(drawn - frame.astype(int)).max(axis=2) > 100
    # Her face is at 75 to 165 across; the box is green.
    assert changed.any()
    _, columns = np.nonzero(changed)
    assert 60 < columns.min() < columns.max() < 200
    green = drawn[changed]
    assert np.median(green[:, 1]) > max(np.median(green[:, 0]), np.median(green[:, 2]))


def test_webcam_room_is_for_one_frame() -> None:
    newest = webcam.Newest()
    for value in range(3):
        newest.put(np.full((1, 1, 3), value, np.uint8))
    newest.end()
    frame = newest.take()
    assert frame is not None
    assert frame[0, 0, 0] == 2
    assert newest.take() is None
    assert newest.dropped == 2


def test_webcam_says_what_it_can_not_open(run: Run) -> None:
    with pytest.raises(SystemExit, match="neither a camera nor a video"):
        run("python examples/webcam.py --source nothing.avi --output found.avi")
