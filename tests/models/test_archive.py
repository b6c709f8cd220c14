import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from models import archive
from models.archive import read_member
from models.errors import DownloadError, MemberMissingError

WEIGHTS = b"weights" * 100
Pack = Callable[[Path, str, bytes], Path]


def zipped(folder: Path, name: str, data: bytes) -> Path:
    path = folder / "some.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, data)
    return path


def tarred(folder: Path, name: str, data: bytes) -> Path:
    path = folder / "some.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        file.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("name", ["model.onnx", "deep/er/model.onnx", "../model.onnx", "/model.onnx"])
def test_a_member_is_read_and_written_nowhere(tmp_path: Path, pack: Pack, name: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    file = pack(folder, name, WEIGHTS)
    assert read_member(file, name, "it") == WEIGHTS
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_member_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Pack
) -> None:
    file = pack(tmp_path, "bomb", bytes(100_000))
    assert file.stat().st_size < 1000
    monkeypatch.setattr(archive, "LIMIT_BYTES", 99_999)
    with pytest.raises(DownloadError, match=r"bomb of it has 100,000 bytes unpacked, more than the 99,999 allowed"):
        read_member(file, "bomb", "it")


def test_a_member_that_unpacks_to_more_than_it_declares_is_refused(tmp_path: Path) -> None:
    file = zipped(tmp_path, "bomb", bytes(100_000))
    # Its size stands in the header in front of it and in the directory behind it.
    file.write_bytes(file.read_bytes().replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(DownloadError, match="Bad CRC-32"):
        read_member(file, "bomb", "it")


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_missing_member_is_told(tmp_path: Path, pack: Pack) -> None:
    with pytest.raises(MemberMissingError, match=r"it has no file other\.onnx: the description's `member` is wrong"):
        read_member(pack(tmp_path, "model.onnx", WEIGHTS), "other.onnx", "it")


@pytest.mark.parametrize("target", ["/etc/passwd", "bomb"])
def test_a_link_is_no_member(tmp_path: Path, target: str) -> None:
    path = tmp_path / "some.tar"
    with tarfile.open(path, "w") as file:
        bomb = tarfile.TarInfo("bomb")
        bomb.size = len(WEIGHTS)
        file.addfile(bomb, io.BytesIO(WEIGHTS))
        link = tarfile.TarInfo("model.onnx")
        link.type = tarfile.SYMTYPE
        link.linkname = target
        file.addfile(link)
    with pytest.raises(MemberMissingError):
        read_member(path, "model.onnx", "it")


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.95])
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_part_of_an_archive_is_told(tmp_path: Path, pack: Pack, keep: float) -> None:
    file = pack(tmp_path, "model.onnx", bytes(range(256)) * 50)
    data = file.read_bytes()
    file.write_bytes(data[: int(keep if keep >= 1 else keep * len(data))])
    with pytest.raises(DownloadError, match="it can't be read as a zip or tar archive"):
        read_member(file, "model.onnx", "it")
