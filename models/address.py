"""Files at addresses, over HTTP: proxies and certificates as the environment names them.

The checksum decides what is kept; HTTPS keeps others from seeing what is fetched.
"""

import contextlib
import hashlib
import ssl
import sys
import tempfile
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import click
import httpx

from models import archive
from models.archive import compare_sha256, read_member
from models.catalog import AddressSource
from models.errors import AddressUnreachableError, DownloadError, FileNotThereError

# To connect, and between two pieces: a slow line may take as long as it needs.
TIMEOUT_S = 30
MAX_REDIRECTS = 10


def fetch(source: AddressSource, sha256: str) -> bytes:
    """The file at the address, or the member of the zip there, with that SHA-256. Nothing stays on the disk.

    AddressUnreachableError, FileNotThereError, ChecksumError, MemberMissingError, or another DownloadError.
    """
    with tempfile.TemporaryDirectory(prefix="facebento-") as folder:
        file = Path(folder, "file")
        download(source.url, file, source.archive or sha256)
        if source.member is None:
            return file.read_bytes()
        member = read_member(file, source.member, source.file_name)
    archive.check_sha256(member, sha256, f"{source.member} of {source.file_name}")
    return member


def download(url: str, target: Path, sha256: str) -> None:
    """Writes what is at the address to `target`, if it has that SHA-256; else `target` is there in part or in whole.

    From https no redirect leads to http. Raises what `fetch` does, but for a member.
    """
    shown = without_user(url)
    with _told(shown), _client() as client, _response(client, url) as response:
        _check_encoding(response, shown)
        digest = hashlib.sha256()
        length = response.headers.get("content-length", "")
        announced = int(length) if length.isdecimal() else 0
        _check_size(announced, shown)
        received = 0
        watched = announced and sys.stdout.isatty()
        bar = click.progressbar(length=announced, label=shown.rpartition("/")[2], hidden=not watched)
        with bar, target.open("wb") as file:
            for piece in response.iter_raw():
                received += len(piece)
                _check_size(received, shown)
                digest.update(piece)
                file.write(piece)
                bar.update(len(piece))
    compare_sha256(digest.hexdigest(), sha256, shown)


def check_base(url: str) -> None:
    """DownloadError, which does not show the address, unless files may lie below it and it can be shown."""
    # A password with a `/`, `?` or `#` in it ends the host early: a part of it would pass for a path or a query.
    if "?" in url or "#" in url or b"@" in _parsed(url).raw_path:
        raise DownloadError(
            "the base address (not shown: it may hold a secret) has a `?`, a `#`, or an `@` behind its host. Leave a "
            "query out; where one of these or a `/` is part of a name, write it as %3F, %23, %40 or %2F"
        )


def without_user(url: str) -> str:
    """The address as it may be shown: without a name and a password in it. Raises DownloadError, without showing it."""
    return str(_parsed(url))


def _parsed(url: str) -> httpx.URL:
    """Without a name and a password."""
    try:
        parsed = httpx.URL(url).copy_with(userinfo=b"")
        host = parsed.host
    except (httpx.InvalidURL, UnicodeError):  # UnicodeError: of a host in punycode. The reasons quote parts of it
        host = ""
    if not host:
        raise DownloadError(
            "an address can't be read (not shown: it may hold a password). It is https://HOST/PATH; in a name or a "
            "password `/` is written as %2F, `@` as %40"
        )
    return parsed


def _client() -> httpx.Client:
    # identity: what is fetched is packed already, and its length is known in advance.
    headers = {"Accept-Encoding": "identity", "User-Agent": "facebento"}
    try:
        return httpx.Client(timeout=TIMEOUT_S, headers=headers)
    except (ImportError, OSError, ValueError) as error:  # a proxy of a kind it does not know, a certificate file
        raise DownloadError(
            f"the proxy or the certificates that the environment names can't be used: {error} "
            "(see: HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE)"
        ) from error


@contextlib.contextmanager
def _response(client: httpx.Client, url: str) -> Iterator[httpx.Response]:
    request = client.build_request("GET", url)
    for _ in range(MAX_REDIRECTS):
        response = client.send(request, stream=True)
        following = response.next_request
        if following is None:
            break
        response.close()
        if request.url.scheme == "https" and following.url.scheme != "https":
            raise DownloadError(f"{without_user(url)} redirects to {following.url.scheme}, which is not encrypted")
        request = following
    else:
        raise DownloadError(f"{without_user(url)} redirects again and again")
    with contextlib.closing(response):
        _check_status(response, without_user(url))
        yield response


def _check_status(response: httpx.Response, shown: str) -> None:
    status = response.status_code
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        raise FileNotThereError(f"there is nothing at {shown} (status {status})")
    if status != HTTPStatus.OK:
        raise DownloadError(f"{shown} answered with status {status} {response.reason_phrase}".rstrip())


def _check_encoding(response: httpx.Response, shown: str) -> None:
    """Nothing is unpacked: a few bytes, packed twice, would fill the memory."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in {"", "identity"}:
        raise DownloadError(
            f"{shown} comes packed (Content-Encoding: {encoding!r}), though it was asked for as it is. "
            "Have the server send it so"
        )


def _check_size(size: int, shown: str) -> None:
    if size > archive.LIMIT_BYTES:
        raise DownloadError(f"{shown} has more than the {archive.LIMIT_BYTES:,} bytes allowed. Nothing was kept")


@contextlib.contextmanager
def _told(shown: str) -> Iterator[None]:
    """What went wrong on the way, in the terms of whoever runs the command."""
    host = shown.partition("://")[2].partition("/")[0]
    try:
        yield
    except (httpx.InvalidURL, UnicodeError) as error:  # of a name that no host can have; its own, or a redirect's
        raise DownloadError(f"{shown} is not an address that can be asked, or leads to none: {error}") from error
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.UnsupportedProtocol) as error:
        if isinstance(error.__context__, ssl.SSLError) or "SSL" in str(error):
            hint = "Check the certificates (SSL_CERT_FILE names others)"
        else:
            hint = "Check the network and the proxy (HTTPS_PROXY)"
        raise AddressUnreachableError(
            f"can't download {shown}: {host} was not reached ({_reason(error)}). {hint}, or bring the file here by "
            "another way and name its folder: facebento models pull ID --from FOLDER"
        ) from error
    except httpx.HTTPError as error:
        raise DownloadError(f"the download of {shown} broke off ({_reason(error)}). Try again") from error


def _reason(error: httpx.HTTPError) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
