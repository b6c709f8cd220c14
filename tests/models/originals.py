"""The model files as published, where this machine has them, and stand-ins of the same shape where it does not."""

import hashlib
from pathlib import Path

from models import store
from models.catalog import ModelDescription
from models.errors import ModelNotStoredError
from models.prepare import prepare
from tests.models.stand_ins import STAND_INS

PUBLISHED = "the published file"
STORED = "the stored model"
STAND_IN = "a stand-in of the same shape"


def tell(description: ModelDescription, kind: str) -> None:
    """For pytest -rP, and where a test fails."""
    print(f"{description.id}: {kind}")  # noqa: T201


def original(description: ModelDescription, folder: Path | None) -> bytes | None:
    """The published file, found in the folder by its checksum."""
    files = sorted(folder.iterdir()) if folder is not None else []
    contents = (file.read_bytes() for file in files if file.is_file())
    return next((each for each in contents if hashlib.sha256(each).hexdigest() == description.sha256), None)


def source(description: ModelDescription, folder: Path | None) -> tuple[bytes, str]:
    """A file to prepare, and what it is."""
    found = original(description, folder)
    return (STAND_INS[description.id](), STAND_IN) if found is None else (found, PUBLISHED)


def graph(description: ModelDescription, folder: Path | None) -> tuple[bytes, str]:
    """A prepared graph, and what it was made of: the store's where the model was pulled."""
    try:
        return store.find(description.id).read(), STORED
    except ModelNotStoredError:
        file, kind = source(description, folder)
        return prepare(description, file).SerializeToString(), kind
