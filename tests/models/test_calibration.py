"""A score mapping that was measured, beside the graph in the store."""

import datetime as dt
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import bentoml
import pytest
from bentoml._internal.models import ModelStore, copy_model

from faces.feature import ScoreMapping
from models import store
from models.calibration import FILE, Calibration, MeasuredPoint
from models.catalog import ModelDescription, read_description
from models.errors import CalibrationError, DescriptionError, StorageError
from models.store import StoredModel

pytestmark = pytest.mark.usefixtures("store_folder")


@pytest.fixture
def stored(embedder: ModelDescription) -> StoredModel:
    return store.save(embedder, b"graph")


@pytest.fixture
def calibration(embedder: ModelDescription) -> Calibration:
    return Calibration(
        fingerprint=embedder.fingerprint,
        score=ScoreMapping(0.7, 9),
        chosen="a FAR of 0.001",
        data="our own faces",
        same_pairs=3000,
        different_pairs=4000,
        date=dt.date(2027, 1, 31),
        points=(MeasuredPoint(cosine=0.7, far=0.001, tar=0.9, accuracy=0.95),),
    )


def mapping(model: StoredModel) -> ScoreMapping:
    assert model.description.embedder is not None
    return model.description.embedder.mapping


def test_without_one_the_description_says_it(stored: StoredModel) -> None:
    assert mapping(store.find("tiny-embedder")) == ScoreMapping(0.5, 4)
    assert store.find("tiny-embedder") == stored


def test_it_is_in_use_once_it_is_there(stored: StoredModel, calibration: Calibration) -> None:
    assert mapping(store.calibrate(stored, calibration)) == ScoreMapping(0.7, 9)
    found = store.find("tiny-embedder")
    assert mapping(found) == ScoreMapping(0.7, 9)
    assert found.description.embedder is not None
    assert found.description.embedder.calibration == calibration
    assert mapping(store.find("tiny-embedder", calibrated=False)) == ScoreMapping(0.5, 4)


def test_version_tag_fingerprint_and_description_stay(stored: StoredModel, calibration: Calibration) -> None:
    found = store.calibrate(stored, calibration)
    for before, after in ((stored, found), (stored, store.find("tiny-embedder"))):
        assert after.tag == before.tag
        assert after.description.tag == before.description.tag
        assert after.description.version == before.description.version
        assert after.description.fingerprint == before.description.fingerprint
        assert after.description.model_dump() == before.description.model_dump()
        assert (after.path, after.prepared_sha256) == (before.path, before.prepared_sha256)
    found.verify()
    assert [model.tag for model in store.stored()] == [stored.tag]


def test_it_can_be_replaced_and_taken_away(stored: StoredModel, calibration: Calibration) -> None:
    store.calibrate(stored, calibration)
    store.calibrate(stored, calibration.model_copy(update={"score": ScoreMapping(0.6, 5)}))
    assert mapping(store.find("tiny-embedder")) == ScoreMapping(0.6, 5)
    assert mapping(store.calibrate(stored, None)) == ScoreMapping(0.5, 4)
    assert store.find("tiny-embedder") == stored
    store.calibrate(stored, None)


def test_a_model_that_is_stored_again_keeps_it(stored: StoredModel, calibration: Calibration) -> None:
    store.calibrate(stored, calibration)
    stored.path.write_bytes(b"damaged")
    assert store.save(stored.description, b"graph") == stored
    assert mapping(store.find("tiny-embedder")) == ScoreMapping(0.7, 9)


def test_bentoml_copies_it_with_the_model(stored: StoredModel, calibration: Calibration, tmp_path: Path) -> None:
    store.calibrate(stored, calibration)
    (tmp_path / "bento").mkdir()
    source, target = ModelStore(stored.path.parents[2]), ModelStore(tmp_path / "bento")
    assert copy_model(stored.tag, src_model_store=source, target_model_store=target)
    copied = tmp_path / "bento" / "tiny-embedder" / stored.path.parent.name / FILE
    assert Calibration.model_validate(json.loads(copied.read_bytes())["calibration"]) == calibration
    exported = bentoml.models.export_model(stored.tag, str(tmp_path / "exported"), output_format="folder")
    assert (Path(exported) / FILE).read_bytes() == copied.read_bytes()


def test_whoever_serves_may_read_it(stored: StoredModel, calibration: Calibration) -> None:
    store.calibrate(stored, calibration)
    folder = stored.path.parent
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == stat.S_IMODE(stored.path.stat().st_mode)
    assert sorted(path.name for path in folder.iterdir()) == [FILE, "description.json", "model.onnx", "model.yaml"]


def changed(**fields: Any) -> Any:
    return lambda text: json.dumps(sealed(json.loads(text)["calibration"] | fields))


def sealed(content: Any) -> dict[str, Any]:
    """As it is written, with the checksum that it should have."""
    found = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return {"calibration": content, "sha256": found}


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: "",
        lambda text: text[:-1],
        lambda _: "[]",
        changed(score={"cosine": 1.5, "steepness": 4}),
        changed(score={"cosine": 0.5, "steepness": -1}),
        changed(score={"cosine": 0.5}),
        changed(more=1),
        changed(points=[{"cosine": 0.5}]),
        lambda text: text.replace('"cosine": 0.7', '"cosine": 0.1', 1),
        lambda text: json.dumps(json.loads(text)["calibration"]),
        lambda _: "[" * 100_000,
    ],
)
def test_a_damaged_one_is_told_and_can_be_taken_away(
    stored: StoredModel, calibration: Calibration, damage: Any
) -> None:
    store.calibrate(stored, calibration)
    file = stored.path.parent / FILE
    file.write_text(damage(file.read_text()))
    with pytest.raises(CalibrationError, match=r"calibration.json is damaged: .*calibrate --reset --embedder tiny"):
        store.find("tiny-embedder")
    with pytest.raises(CalibrationError, match=r"is damaged"):
        stored.check_calibration()
    store.calibrate(store.find("tiny-embedder", calibrated=False), None)
    stored.check_calibration()
    assert store.find("tiny-embedder") == stored


def test_one_that_cannot_be_read_is_told(stored: StoredModel) -> None:
    (stored.path.parent / FILE).mkdir()
    with pytest.raises(CalibrationError, match="can't be read: Is a directory"):
        store.find("tiny-embedder")


def test_one_of_another_embedder_is_refused(stored: StoredModel, calibration: Calibration) -> None:
    other = calibration.model_copy(update={"fingerprint": "0" * 32})
    with pytest.raises(CalibrationError, match=f"measured with the embedder {'0' * 32}"):
        store.calibrate(stored, other)
    assert store.find("tiny-embedder") == stored
    # Nor is it taken where somebody has copied the file.
    (stored.path.parent / FILE).write_text(json.dumps(sealed(other.model_dump(mode="json"))))
    with pytest.raises(CalibrationError, match="was made for the embedder 0000"):
        store.find("tiny-embedder")


def test_detectors_have_none(detector: ModelDescription, calibration: Calibration) -> None:
    saved = store.save(detector, b"graph")
    with pytest.raises(TypeError, match="only embedders"):
        store.calibrate(saved, calibration)
    (saved.path.parent / FILE).write_text("no business of its")
    assert store.find("tiny-detector") == saved


def test_a_disk_that_refuses_leaves_what_was_there(
    stored: StoredModel, calibration: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.calibrate(stored, calibration)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match=r"can't calibrate tiny-embedder:.*: the disk is full"):
        store.calibrate(stored, calibration.model_copy(update={"score": ScoreMapping(0.6, 5)}))
    assert mapping(store.find("tiny-embedder")) == ScoreMapping(0.7, 9)
    assert sorted(path.name for path in stored.path.parent.iterdir())[0:2] == [FILE, "description.json"]


def test_two_that_write_at_a_time_do_not_tear_it(
    stored: StoredModel, calibration: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second begins and ends while the first has not put its file into place yet."""
    other = calibration.model_copy(update={"score": ScoreMapping(0.6, 5), "data": "long" * 1000})
    sync = os.fsync

    def meanwhile(descriptor: int) -> None:
        monkeypatch.setattr("os.fsync", sync)
        store.calibrate(stored, other)
        sync(descriptor)

    monkeypatch.setattr("os.fsync", meanwhile)
    store.calibrate(stored, calibration)
    assert mapping(store.find("tiny-embedder")) == ScoreMapping(0.7, 9)
    assert len(list(stored.path.parent.iterdir())) == 4


def test_a_description_cannot_bring_one(embedder_fields: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    spec = embedder_fields["embedder"]
    lines = [f"{name} = {json.dumps(value)}" for name, value in embedder_fields.items() if not isinstance(value, dict)]
    lines += ['input = {size = 2, color = "RGB", mean = [0, 0, 0], scale = 1}', "[embedder]"]
    lines += [f"dimensions = {spec['dimensions']}", f"template = {spec['template']}"]
    lines += ["score = {cosine = 0.5, steepness = 4}", 'calibration = {data = "none"}']
    file.write_text("\n".join(lines))
    with pytest.raises(DescriptionError, match=r"embedder.calibration: Extra inputs are not permitted"):
        read_description(file, "0" * 64)
