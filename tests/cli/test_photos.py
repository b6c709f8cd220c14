"""Which photos are meant, and what is read of them."""

import os
from pathlib import Path

import pytest

from cli import photos
from cli.photos import PhotoError, find


def test_a_folder_is_walked_by_name_without_what_is_hidden_or_linked(tmp_path: Path) -> None:
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "a-link").symlink_to(tmp_path, target_is_directory=True)
    for name in ("z.JPG", "b/2.webp", "b/c/1.jpeg", "b/.x.png", ".cache/x.png", "text.txt", "b/10.bmp"):
        (tmp_path / name).touch()
    (tmp_path / "linked.png").symlink_to(tmp_path / "z.JPG")
    found = find([str(tmp_path)])
    assert [each.place.as_posix() for each in found] == ["linked.png", "z.JPG", "b/10.bmp", "b/2.webp", "b/c/1.jpeg"]


def test_what_is_named_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / ".data").write_bytes(b"content")
    [found] = find([str(tmp_path / ".data")])
    assert found.read().read() == b"content"


def test_a_file_without_an_end_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "MOST_BYTES", 1 << 20)
    [endless] = find(["/dev/zero"])
    with pytest.raises(PhotoError, match="more than 1 MB"):
        endless.read()


def test_a_folder_that_can_not_be_opened_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> object:  # root may open all of them
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    photo, closed = find([str(tmp_path)])
    assert photo.problem == ""
    assert closed.name == str(tmp_path / "closed")
    with pytest.raises(PhotoError, match="Permission denied"):
        closed.read()


def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "gone.jpg").symlink_to("nothing")
    gone, pipe = find([str(tmp_path)])
    with pytest.raises(PhotoError, match="No such file"):
        gone.read()
    with pytest.raises(PhotoError, match="no regular file"):
        pipe.read()
