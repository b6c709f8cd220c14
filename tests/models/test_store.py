import datetime as dt
import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import bentoml
import pytest

from models import catalog, store
from models.catalog import ModelDescription, describe
from models.errors import (
    ChecksumError,
    DescriptionChangedError,
    LicenceNotAcceptedError,
    ModelNotStoredError,
    StorageError,
    UnknownModelError,
)
from models.licence import Acceptance

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
    with pytest.raises(UnknownModelError, match=f"{', '.join(catalog.catalog())}, tiny-detector"):
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


def changed(model: store.StoredModel, old: str, new: str) -> None:
    record = model.path.with_name("description.json")
    text = record.read_text(encoding="utf-8")
    assert text.count(old) == 1
    record.write_text(text.replace(old, new), encoding="utf-8")


def test_a_changed_description_of_a_catalog_model_is_told() -> None:
    changed(store.save(describe("centerface"), b"graph"), '"score_threshold": 0.5', '"score_threshold": 0.1')
    with pytest.raises(
        DescriptionChangedError, match=r"centerface in the store was changed: .*description\.json"
    ) as told:
        store.find("centerface")
    assert str(told.value).endswith("Run: facebento models pull centerface")


def test_it_is_told_in_a_record_of_an_older_release_too() -> None:
    saved = store.save(describe("centerface"), b"graph")
    changed(saved, '"score_threshold": 0.5', '"score_threshold": 0.1')
    without(saved, "accepted")
    with pytest.raises(DescriptionChangedError):
        store.find("centerface")


def test_a_description_that_became_nonsense_is_told() -> None:
    changed(store.save(describe("centerface"), b"graph"), '"score_threshold": 0.5', '"score_threshold": 5')
    with pytest.raises(DescriptionChangedError, match="facebento models pull centerface"):
        store.find("centerface")


def test_a_changed_description_of_an_imported_model_is_told(detector: ModelDescription) -> None:
    saved = store.save(detector, b"graph")
    changed(saved, '"score_threshold": 0.5', '"score_threshold": 0.1')
    with pytest.raises(DescriptionChangedError, match=r"tiny-detector in the store was changed.*models import FILE"):
        store.find("tiny-detector")
    [listed] = store.stored()
    with pytest.raises(DescriptionChangedError):
        listed.verify()


def without(model: store.StoredModel, *names: str) -> None:
    record = model.path.with_name("description.json")
    fields = json.loads(record.read_text(encoding="utf-8"))
    record.write_text(json.dumps({name: fields[name] for name in fields if name not in names}), encoding="utf-8")


def test_a_record_of_an_older_release_counts_as_it_is(
    detector: ModelDescription, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that prepared otherwise, had fewer fields in a description, and knew of no acceptance."""
    with monkeypatch.context() as older:
        older.setattr(catalog, "PREPARATION", 1)
        fields = detector.model_dump(mode="json")
        del fields["detector"]["smallest_face"]
        older.setattr(ModelDescription, "version", catalog._version(fields, 1))
        saved = store.save(detector, b"graph")
        record = json.loads(saved.path.with_name("description.json").read_text(encoding="utf-8"))
        saved.path.with_name("description.json").write_text(json.dumps(record | {"description": fields}))
    without(saved, "accepted")
    assert store.find("tiny-detector").description == detector


def test_what_another_release_says_more_does_no_harm(detector: ModelDescription) -> None:
    saved = store.save(detector, b"graph")
    changed(saved, '"accepted": null', '"accepted": null, "more": 1')
    assert store.find("tiny-detector") == saved


@pytest.mark.parametrize("text", ['{"descrip', "", '{"description": 3}', "[" * 100_000])
def test_a_torn_record_is_told(detector: ModelDescription, text: str) -> None:
    assert store.torn() == []
    saved = store.save(detector, b"graph")
    record = saved.path.with_name("description.json")
    record.write_text(text)
    assert store.torn() == [record]
    with pytest.raises(DescriptionChangedError, match=r"tiny-detector.*models import FILE"):
        store.find("tiny-detector")
    record.unlink()
    assert store.torn() == [record]
    assert store.save(detector, b"graph") == saved
    assert store.torn() == []


def test_an_interrupt_between_taking_the_old_model_away_and_putting_the_new_one_there_loses_nothing(
    detector: ModelDescription, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = store.save(detector, b"old")
    beside = saved.path.with_name("calibration.json")
    beside.write_text("measured")
    rename = Path.rename
    seen: list[str] = []

    def interrupted(path: Path, target: Path) -> Path:
        seen.append(path.name)
        if path.name == "new":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.save(detector, b"new")
    assert seen[1] == "new"
    assert saved.path.read_bytes() == b"old"
    assert beside.read_text() == "measured"
    assert store.find("tiny-detector") == saved


@pytest.fixture
def restricted(detector_fields: Fields) -> ModelDescription:
    terms = {"licence": "for research alone", "terms": "https://example.org/terms", "acceptance": True}
    return ModelDescription.model_validate(detector_fields | terms)


def accepted(description: ModelDescription, **change: Any) -> Acceptance:
    fields = {"licence": description.licence, "terms": description.terms, "accepted_at": dt.datetime.now(dt.UTC)}
    return Acceptance.model_validate(fields | change)


def test_an_acceptance_is_stored_and_found(restricted: ModelDescription) -> None:
    acceptance = accepted(restricted)
    store.save(restricted, b"graph", acceptance)
    assert store.find("tiny-detector").accepted == acceptance


@pytest.mark.parametrize("change", [None, {"terms": "https://example.org/others"}, {"licence": "another"}])
def test_a_model_is_not_stored_without_the_acceptance_of_its_very_terms(
    restricted: ModelDescription, store_folder: Path, change: Fields | None
) -> None:
    acceptance = None if change is None else accepted(restricted, **change)
    with pytest.raises(LicenceNotAcceptedError, match=r"tiny-detector.*facebento models import"):
        store.save(restricted, b"graph", acceptance)
    assert files(store_folder) == []


@pytest.mark.parametrize("in_catalog", [True, False])
def test_nor_served_without_it(restricted: ModelDescription, monkeypatch: pytest.MonkeyPatch, in_catalog: bool) -> None:
    if in_catalog:
        monkeypatch.setattr(catalog, "_catalog", lambda: {restricted.id: restricted})
    without(store.save(restricted, b"graph", accepted(restricted)), "accepted")
    with pytest.raises(LicenceNotAcceptedError):
        store.find("tiny-detector")


def test_the_remedy_for_a_restricted_model_accepts_its_licence(monkeypatch: pytest.MonkeyPatch) -> None:
    terms = {"terms": "https://example.org/terms", "acceptance": True}
    restricted = ModelDescription.model_validate(describe("centerface").model_dump() | terms)
    monkeypatch.setattr(catalog, "_catalog", lambda: {"centerface": restricted})
    with pytest.raises(ModelNotStoredError, match=r"Run: facebento models pull centerface --accept-license$"):
        store.find("centerface")
