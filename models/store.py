"""The models that are ready to serve, in BentoML's model store.

    <store>/<id>/<version>/
        model.onnx          the prepared graph
        calibration.json    an embedder's score mapping, where it was measured (models/calibration.py)
        description.json    the description it was prepared from, the checksum of the graph, an accepted licence
        model.yaml          BentoML's own

Serving imports this module: nothing here needs onnx or touches the network.
"""

import datetime as dt
import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import bentoml
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml.models import ModelContext
from pydantic import ConfigDict, ValidationError

from models import calibration, licence
from models.calibration import Calibration
from models.catalog import Frozen, ModelDescription, Sha256, catalog, versions
from models.errors import (
    CalibrationError,
    ChecksumError,
    DescriptionChangedError,
    ModelNotStoredError,
    StorageError,
    UnknownModelError,
)
from models.licence import Acceptance

GRAPH = "model.onnx"
RECORD = "description.json"
DAY_S = 24 * 60 * 60
OURS = "source_sha256"  # among the metadata that BentoML keeps of a model: nobody else's has it


class Record(Frozen):
    """What description.json holds. The folder that it lies in is called by the version, a hash of the description."""

    model_config = ConfigDict(extra="ignore")  # another release may say more

    description: ModelDescription
    prepared_sha256: Sha256
    stored_at: dt.datetime
    accepted: Acceptance | None = None  # the licence, where somebody had to


@dataclass(frozen=True)
class StoredModel:
    """A prepared model. `path` is its model.onnx, `tag` its BentoML tag, `id:version`."""

    description: ModelDescription
    path: Path
    tag: str
    prepared_sha256: str
    accepted: Acceptance | None = None
    changed: bool = False  # whether its description is another than the one stored

    def verify(self) -> None:
        """ChecksumError if model.onnx is not, byte for byte, what was stored, or if its description was changed."""
        self.check_description()
        with storage_errors(f"read {self.path}"), self.path.open("rb") as file:
            self._check(hashlib.file_digest(file, "sha256").hexdigest())

    def read(self) -> bytes:
        """What is in model.onnx, verified as it is read: a file that is read again after `verify` may be another."""
        with storage_errors(f"read {self.path}"):
            graph = self.path.read_bytes()
        self._check(hashlib.sha256(graph).hexdigest())
        return graph

    def check_description(self) -> None:
        """DescriptionChangedError if it was changed, LicenceNotAcceptedError if its licence has yet to be accepted."""
        if self.changed:
            raise _changed(self.description.id, self.path.with_name(RECORD))
        licence.check(self.description, self.accepted, _remedy(self.description.id))

    def check_calibration(self) -> None:
        """CalibrationError if there is one, and it is damaged or another embedder's."""
        _calibrated(self)

    def _check(self, found: str) -> None:
        if found != self.prepared_sha256:
            raise ChecksumError(
                f"{self.tag} is damaged: its model.onnx has the SHA-256 {found}, stored was {self.prepared_sha256}. "
                f"{_remedy(self.description.id)}"
            )


def find(model_id: str, *, calibrated: bool = True) -> StoredModel:
    """The stored model of that id: the catalog's exact version of its own models, the newest of any other.

    calibrated: with what `calibrate` has put there, if anything. ModelNotStoredError if a known model isn't there,
    UnknownModelError if nobody knows the id, DescriptionChangedError if its description was changed in the store,
    LicenceNotAcceptedError, CalibrationError if its calibration is damaged.
    """
    found = _find(model_id)
    return _calibrated(found) if calibrated else found


def calibrate(model: StoredModel, measured: Calibration | None) -> StoredModel:
    """The embedder with that calibration from now on, in place of what it had; with none for None.

    Raises TypeError for a detector, CalibrationError for another embedder's calibration, StorageError.
    """
    fingerprint = model.description.fingerprint
    if measured is not None and measured.fingerprint != fingerprint:
        raise CalibrationError(
            f"it was measured with the embedder {measured.fingerprint}, and {model.tag} is {fingerprint}"
        )
    with storage_errors(f"calibrate {model.tag}"):
        calibration.write(model.path.parent, measured)
    return replace(model, description=model.description.calibrated(measured))


def _calibrated(model: StoredModel) -> StoredModel:
    description = model.description
    if description.role != "embedder":
        return model
    measured = calibration.read(model.path.parent, description.id, description.fingerprint)
    return model if measured is None else replace(model, description=description.calibrated(measured))


def _find(model_id: str) -> StoredModel:
    known = catalog().get(model_id)
    if known is not None:
        folder = _root() / known.id / known.version
        if not (folder / RECORD).is_file():
            raise ModelNotStoredError(f"the model {known.tag} is not in the store. {_remedy(model_id)}")
        found = _read(folder)
        if found is None or found[1].description != known:
            raise _changed(model_id, folder / RECORD)
        found[1].check_description()
        return found[1]
    for record in torn():
        if record.parent.parent.name == model_id:  # and it may be the newest
            raise _changed(model_id, record)
    imported = [each for each in _all() if each[1].description.id == model_id]
    if not imported:
        ids = dict.fromkeys([*catalog(), *(each.description.id for each in stored())])
        raise UnknownModelError(
            f"no model is called {model_id!r}. Known models: {', '.join(ids)}. "
            "A file of your own: run: facebento models import FILE --description TOML"
        )
    newest = max(imported, key=lambda each: each[0].stored_at)[1]
    newest.check_description()
    return newest


def expected(description: ModelDescription) -> StoredModel:
    """The model of that description as it would be stored: there is no file at its path, and none verifies."""
    return StoredModel(description, _root() / description.id / description.version / GRAPH, description.tag, "")


def stored() -> list[StoredModel]:
    """Every model in the store that was put there by `save`, by tag."""
    return [model for _, model in _all()]


def torn() -> list[Path]:
    """The records of models that were put there by `save` and can't be read any more."""
    told = sorted(_root().glob("*/*/model.yaml"))
    # Other projects may have a description.json too.
    ours = [each.with_name(RECORD) for each in told if OURS in each.read_text("utf-8", errors="replace")]
    return [record for record in ours if _read(record.parent) is None]


def save(description: ModelDescription, graph: bytes, accepted: Acceptance | None = None) -> StoredModel:
    """Stores a prepared graph under `description.tag`, in place of what is there under that tag.

    All or nothing: an interrupted save leaves the store as it was. StorageError if the disk is full or read-only,
    LicenceNotAcceptedError if the licence has to be accepted and `accepted` does not say so.
    """
    licence.check(description, accepted, _remedy(description.id))
    record = Record(
        description=description,
        prepared_sha256=hashlib.sha256(graph).hexdigest(),
        stored_at=dt.datetime.now(dt.UTC),
        accepted=accepted,
    )
    with storage_errors("write to the model store"):
        root = _root()
        root.mkdir(parents=True, exist_ok=True)
        # BentoML would write file by file into the final place, and an interrupt leaves half of them there. A folder
        # beside the store is on the same disk, and renaming it is one step.
        _sweep(root.parent)
        with tempfile.TemporaryDirectory(dir=root.parent, prefix="saving-") as folder:
            staged = Path(folder, "new")
            staged.mkdir()
            (staged / GRAPH).write_bytes(graph)
            (staged / RECORD).write_text(record.model_dump_json(indent=2), encoding="utf-8")
            with (staged / "model.yaml").open("w", encoding="utf-8") as file:
                _bentoml_model(description).info.dump(file)
            final = root / description.id / description.version
            final.parent.mkdir(exist_ok=True)
            old = Path(folder, "old")
            try:
                if final.exists():
                    # Of the same version, and so of the same embedder.
                    if (measured := final / calibration.FILE).is_file():
                        shutil.copy(measured, staged)
                    final.rename(old)
                staged.rename(final)
            except BaseException:  # an interrupt too: what is left in the folder goes with it
                if old.exists() and not final.exists():
                    old.rename(final)
                raise
            (final.parent / "latest").write_text(description.version, encoding="utf-8")
    return _stored(record, final, changed=False)


def _sweep(folder: Path) -> None:
    """Removes what saves left behind whose process was killed: a save takes seconds, a day is plenty."""
    for left in folder.glob("saving-*"):
        if time.time() - left.stat().st_mtime > DAY_S:
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def storage_errors(action: str) -> Iterator[None]:
    """Turns what the disk refuses into a StorageError."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageError(f"can't {action}: the disk is full{where}. Free some space and try again") from error
        raise StorageError(f"can't {action}: {error.strerror or error}{where}") from error


def _bentoml_model(description: ModelDescription) -> bentoml.Model:
    """The model as BentoML describes it.

    Not `bentoml.models.create`, which reports every model to BentoML's servers.
    """
    return bentoml.Model.create(
        description.tag,
        module="",
        api_version="v1",
        signatures={},
        context=ModelContext(framework_name="", framework_versions={}),
        labels={"role": description.role, "licence": description.licence},
        metadata={"summary": description.summary, OURS: description.sha256},
    )


def _root() -> Path:
    # BentoML tells nowhere else which store is in use: a bento's own, or the one of BENTOML_HOME.
    return Path(os.fspath(BentoMLContainer.model_store.get()._path))  # noqa: SLF001


def _all() -> list[tuple[Record, StoredModel]]:
    folders = sorted(path.parent for path in _root().glob(f"*/*/{RECORD}"))
    return [found for folder in folders if (found := _read(folder)) is not None]


def _read(folder: Path) -> tuple[Record, StoredModel] | None:
    """What a folder of the store holds, or None if it was not put there by `save`."""
    try:
        text = (folder / RECORD).read_bytes()
        record = Record.model_validate_json(text)
    except (OSError, ValidationError):
        return None
    # Of the text, not of what it was read into: a later release may read more into it.
    changed = folder.name not in versions(json.loads(text)["description"])
    return record, _stored(record, folder, changed=changed)


def _stored(record: Record, folder: Path, *, changed: bool) -> StoredModel:
    tag = f"{folder.parent.name}:{folder.name}"
    return StoredModel(
        record.description, folder / GRAPH, tag, record.prepared_sha256, accepted=record.accepted, changed=changed
    )


def _changed(model_id: str, file: Path) -> DescriptionChangedError:
    return DescriptionChangedError(
        f"the description of {model_id} in the store was changed: {file}. A model is served as it was described when "
        f"it was stored. {_remedy(model_id)}"
    )


def _remedy(model_id: str) -> str:
    """The command that mends it, as the end of a message."""
    known = catalog().get(model_id)
    if known is None:
        return "Run: facebento models import FILE --description TOML"
    return f"Run: facebento models pull {model_id}{' --accept-license' if known.acceptance else ''}"
