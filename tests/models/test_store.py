import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import bentoml
import pytest

from models import store
from models.catalog import ModelDescription, describe
from models.errors import ChecksumError, ModelNotStoredError, StorageError, UnknownModelError

Fields = dict[str, Any]

pytestmark = pytest.mark.usefixtures("store_folder")


def files(folder: Path) -> list[Path]:
    return [path for path in folder.parent.rglob("*") if path.is_file()]


def test_what_is_saved_is_found(detector: ModelDescription) -> None:
    saved = store.save(detector, b"graph")
    assert store.find("tiny-detector") == saved
    assert saved.description == detector
    assert saved.tag == detector.tag
    assert saved.path.read_bytes() == b"graph"
    saved.verify()


def test_bentoml_knows_it_too(detector: ModelDescription) -> None:
    saved = store.save(detector, b"graph")
    for tag in (saved.tag, "tiny-detector:latest"):
        model = bentoml.models.get(tag)
        assert Path(model.path_of("model.onnx")) == saved.path
        assert model.info.labels == {"role": "detector", "licence": "CC0-1.0"}


def test_saving_again_replaces(detector: ModelDescription) -> None:
    store.save(detector, b"old")
    assert store.save(detector, b"new").path.read_bytes() == b"new"
    assert len(store.stored()) == 1


def test_the_newest_of_an_imported_model_is_found(detector_fields: Fields) -> None:
    for summary in ("first", "second", "third"):
        store.save(ModelDescription.model_validate(detector_fields | {"summary": summary}), b"graph")
    assert store.find("tiny-detector").description.summary == "third"
    assert len(store.stored()) == 3


def test_a_catalog_model_of_another_version_does_not_count() -> None:
    older = describe("centerface").model_copy(update={"summary": "as an older release told it"})
    store.save(older, b"graph")
    with pytest.raises(ModelNotStoredError, match="facebento models pull centerface"):
        store.find("centerface")


@pytest.mark.parametrize("model_id", ["nobody", "../etc", "a:b", ""])
def test_an_unknown_id_lists_the_known_ones(detector: ModelDescription, model_id: str) -> None:
    store.save(detector, b"graph")
    with pytest.raises(UnknownModelError, match="centerface, dlib-resnet-v1, tiny-detector"):
        store.find(model_id)


def test_one_changed_bit_is_noticed(detector: ModelDescription) -> None:
    saved = store.save(detector, b"graph")
    saved.path.write_bytes(b"grapi")
    with pytest.raises(ChecksumError, match="damaged"):
        saved.verify()


def test_a_missing_graph_is_told(detector: ModelDescription) -> None:
    saved = store.save(detector, b"graph")
    saved.path.unlink()
    with pytest.raises(StorageError, match="No such file"):
        saved.verify()


def test_models_of_other_projects_are_left_alone(store_folder: Path, detector: ModelDescription) -> None:
    saved = store.save(detector, b"graph")
    other = store_folder / "other" / "1"
    other.mkdir(parents=True)
    (other / "description.json").write_text(json.dumps({"name": "something else"}))
    (store_folder / "empty" / "1").mkdir(parents=True)
    assert store.stored() == [saved]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), SystemExit(1), OSError(errno.EIO, "I/O error")])
def test_an_interrupted_save_leaves_nothing(
    detector: ModelDescription, store_folder: Path, monkeypatch: pytest.MonkeyPatch, interruption: BaseException
) -> None:
    def write_a_part(path: Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data[:3])
        raise interruption

    monkeypatch.setattr(Path, "write_bytes", write_a_part)
    with pytest.raises((type(interruption), StorageError)):
        store.save(detector, b"graph")
    assert files(store_folder) == []
    assert store.stored() == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_and_keeps_the_old_model(
    detector: ModelDescription, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    saved = store.save(detector, b"old")

    def full(*_: Any) -> None:
        raise OSError(code, "No space left on device", "model.onnx")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="the disk is full"):
        store.save(detector, b"new")
    assert saved.path.read_bytes() == b"old"


def test_nothing_is_reported_to_bentoml(detector: ModelDescription, monkeypatch: pytest.MonkeyPatch) -> None:
    def report(*_: Any, **__: Any) -> None:
        raise AssertionError("a save must stay on this machine")

    monkeypatch.setattr("bentoml.models.track", report)
    store.save(detector, b"graph")


def test_what_a_killed_save_left_is_removed_after_a_day(store_folder: Path, detector: ModelDescription) -> None:
    left, at_work = store_folder.parent / "saving-left", store_folder.parent / "saving-at-work"
    for folder in (left, at_work):
        folder.mkdir()
    yesterday = time.time() - store.DAY_S - 60
    os.utime(left, (yesterday, yesterday))
    store.save(detector, b"graph")
    assert not left.exists()
    assert at_work.exists()
