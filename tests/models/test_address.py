import errno
import gzip
import hashlib
import io
import re
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import click
import httpx
import pytest

from models import address, archive
from models.address import check_base, download, fetch, without_user
from models.catalog import AddressSource
from models.errors import (
    AddressUnreachableError,
    ChecksumError,
    DownloadError,
    FileNotThereError,
    MemberMissingError,
)
from tests.models.conftest import Web

WEIGHTS = b"weights" * 1000
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


def zipped(name: str, data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archived:
        archived.writestr(name, data)
    return file.getvalue()


def at(web: Web, path: str, **more: Any) -> AddressSource:
    """A source without encryption, which no description can name."""
    return AddressSource.model_construct(url=f"{web.url}{path}", **({"archive": None, "member": None} | more))


@pytest.fixture
def answered_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[httpx.Request], httpx.Response]], None]:
    """Let a function answer in place of every host, with https too."""

    def answer(handler: Callable[[httpx.Request], httpx.Response]) -> None:
        monkeypatch.setattr(address, "_client", lambda: httpx.Client(transport=httpx.MockTransport(handler)))

    return answer


def test_a_file_comes_and_nothing_else_stays(web: Web, temporary: Path) -> None:
    web.files["/tiny.onnx"] = WEIGHTS
    assert fetch(at(web, "/tiny.onnx"), SHA256) == WEIGHTS
    assert list(temporary.iterdir()) == []


def test_a_member_of_a_zip_comes(web: Web, temporary: Path) -> None:
    web.files["/pack.zip"] = data = zipped("inner/tiny.onnx", WEIGHTS)
    source = at(web, "/pack.zip", archive=hashlib.sha256(data).hexdigest(), member="inner/tiny.onnx")
    assert fetch(source, SHA256) == WEIGHTS
    assert list(temporary.iterdir()) == []


def test_another_file_than_described_is_refused(web: Web, temporary: Path) -> None:
    web.files["/tiny.onnx"] = b"others" * 100
    with pytest.raises(ChecksumError, match=rf"/tiny\.onnx has the SHA-256 .*, expected {SHA256}\. Nothing was kept"):
        fetch(at(web, "/tiny.onnx"), SHA256)
    assert list(temporary.iterdir()) == []


def test_another_archive_than_described_is_refused_though_its_member_is_right(web: Web, temporary: Path) -> None:
    web.files["/pack.zip"] = zipped("tiny.onnx", WEIGHTS)
    with pytest.raises(ChecksumError, match=r"/pack\.zip has the SHA-256"):
        fetch(at(web, "/pack.zip", archive="0" * 64, member="tiny.onnx"), SHA256)
    assert list(temporary.iterdir()) == []


def test_another_member_than_described_is_refused_though_its_archive_is_right(web: Web, temporary: Path) -> None:
    web.files["/pack.zip"] = data = zipped("tiny.onnx", b"others")
    source = at(web, "/pack.zip", archive=hashlib.sha256(data).hexdigest(), member="tiny.onnx")
    with pytest.raises(ChecksumError, match=r"tiny\.onnx of pack\.zip has the SHA-256"):
        fetch(source, SHA256)
    assert list(temporary.iterdir()) == []


def test_a_missing_member_is_told(web: Web, temporary: Path) -> None:
    web.files["/pack.zip"] = data = zipped("tiny.onnx", WEIGHTS)
    source = at(web, "/pack.zip", archive=hashlib.sha256(data).hexdigest(), member="other.onnx")
    with pytest.raises(MemberMissingError, match=r"pack\.zip has no file other\.onnx"):
        fetch(source, SHA256)
    assert list(temporary.iterdir()) == []


def test_a_file_that_is_not_there_is_told(web: Web, temporary: Path) -> None:
    with pytest.raises(FileNotThereError, match=rf"nothing at {web.url}/tiny\.onnx \(status 404\)"):
        fetch(at(web, "/tiny.onnx"), SHA256)
    assert list(temporary.iterdir()) == []


def test_another_refusal_is_told_in_the_words_of_the_host(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "answer", lambda request: request.send_error(403))
    with pytest.raises(DownloadError, match=r"/tiny\.onnx answered with status 403 Forbidden"):
        fetch(at(web, "/tiny.onnx"), SHA256)


def test_a_host_that_is_not_reached_is_told_with_another_way(web: Web, temporary: Path) -> None:
    web.server.server_close()
    with pytest.raises(AddressUnreachableError, match=r"127\.0\.0\.1:\d+ was not reached .*the proxy.*pull ID --from"):
        fetch(at(web, "/tiny.onnx"), SHA256)
    assert list(temporary.iterdir()) == []


def test_a_certificate_that_nobody_vouches_for_is_told(
    answered_by: Callable[[Callable[[httpx.Request], httpx.Response]], None],
) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate", request=request)

    answered_by(refuse)
    with pytest.raises(AddressUnreachableError, match=r"self-signed.*SSL_CERT_FILE"):
        fetch(AddressSource(url="https://example.org/tiny.onnx"), SHA256)


def test_a_download_that_breaks_off_is_told(web: Web, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(WEIGHTS)))
        request.end_headers()
        request.wfile.write(WEIGHTS[: len(WEIGHTS) // 2])

    monkeypatch.setattr(web, "answer", half)
    with pytest.raises(DownloadError, match=r"the download of http://.*/tiny\.onnx broke off \(peer closed.*Try again"):
        fetch(at(web, "/tiny.onnx"), SHA256)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("announced", [True, False])
def test_more_than_allowed_is_refused(
    web: Web, temporary: Path, monkeypatch: pytest.MonkeyPatch, announced: bool
) -> None:
    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        if announced:
            request.send_header("Content-Length", str(1 << 40))
        request.end_headers()
        if not announced:  # until the client has enough of it
            try:
                for _ in range(10_000):
                    request.wfile.write(bytes(1000))
            except OSError:
                return
            web.asked.append("never refused")

    monkeypatch.setattr(web, "answer", endless)
    monkeypatch.setattr(archive, "LIMIT_BYTES", 5000)
    with pytest.raises(DownloadError, match=r"more than the 5,000 bytes allowed"):
        fetch(at(web, "/tiny.onnx"), SHA256)
    assert list(temporary.iterdir()) == []
    assert web.asked == ["/tiny.onnx"]


@pytest.mark.parametrize("encoding", ["gzip, gzip", "GZIP", "br"])
def test_nothing_that_is_packed_on_the_way_is_unpacked(
    web: Web, temporary: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    def packed(request: BaseHTTPRequestHandler) -> None:
        data = gzip.compress(gzip.compress(WEIGHTS))
        request.send_response(200)
        request.send_header("Content-Encoding", encoding)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    monkeypatch.setattr(web, "answer", packed)
    with pytest.raises(DownloadError, match=rf"/tiny\.onnx comes packed \(Content-Encoding: '{encoding.lower()}'\)"):
        fetch(at(web, "/tiny.onnx"), SHA256)
    assert list(temporary.iterdir()) == []


def test_identity_is_no_encoding_and_asked_for(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted = []

    def plain(request: BaseHTTPRequestHandler) -> None:
        accepted.append(request.headers["Accept-Encoding"])
        request.send_response(200)
        request.send_header("Content-Encoding", "identity")
        request.end_headers()
        request.wfile.write(WEIGHTS)

    monkeypatch.setattr(web, "answer", plain)
    assert fetch(at(web, "/tiny.onnx"), SHA256) == WEIGHTS
    assert accepted == ["identity"]


def test_a_redirect_is_followed(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    web.files["/there"] = WEIGHTS
    plain = web.answer

    def redirect(request: BaseHTTPRequestHandler) -> None:
        if request.path != "/here":
            plain(request)
            return
        request.send_response(302)
        request.send_header("Location", "/there")
        request.send_header("Content-Length", "0")
        request.end_headers()

    monkeypatch.setattr(web, "answer", redirect)
    assert fetch(at(web, "/here"), SHA256) == WEIGHTS
    assert web.asked == ["/here", "/there"]


def test_a_redirect_away_from_https_is_refused(
    answered_by: Callable[[Callable[[httpx.Request], httpx.Response]], None],
) -> None:
    asked = []

    def redirect(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        if request.url.scheme == "http":
            return httpx.Response(200, content=WEIGHTS)
        return httpx.Response(302, headers={"Location": "http://example.org/tiny.onnx"})

    answered_by(redirect)
    with pytest.raises(DownloadError, match=r"https://example.org/tiny.onnx redirects to http, which is not encrypted"):
        fetch(AddressSource(url="https://example.org/tiny.onnx"), SHA256)
    assert asked == ["https://example.org/tiny.onnx"]


def test_redirects_have_an_end(answered_by: Callable[[Callable[[httpx.Request], httpx.Response]], None]) -> None:
    answered_by(lambda request: httpx.Response(302, headers={"Location": str(request.url)}))
    with pytest.raises(DownloadError, match="again and again"):
        fetch(AddressSource(url="https://example.org/tiny.onnx"), SHA256)


def test_a_full_disk_leaves_nothing(web: Web, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web.files["/tiny.onnx"] = WEIGHTS

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space left"):  # pull tells it as a StorageError
        fetch(at(web, "/tiny.onnx"), SHA256)
    assert list(temporary.iterdir()) == []


def test_the_proxy_of_the_environment_is_asked(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("http_proxy", web.url)
    web.files["http://models.example/tiny.onnx"] = WEIGHTS
    source = AddressSource.model_construct(url="http://models.example/tiny.onnx", archive=None, member=None)
    assert fetch(source, SHA256) == WEIGHTS


def test_a_proxy_of_an_unknown_kind_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "gopher://127.0.0.1:70")
    with pytest.raises(DownloadError, match="HTTPS_PROXY"):
        fetch(AddressSource(url="https://example.org/tiny.onnx"), SHA256)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_grows_on_a_terminal_only(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    web.files["/tiny.onnx"] = WEIGHTS
    bars = []
    make = click.progressbar

    def watched(**options: Any) -> Any:
        bars.append(options)
        return make(**options, file=io.StringIO())

    monkeypatch.setattr(click, "progressbar", watched)
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    download(f"{web.url}/tiny.onnx", tmp_path / "file", SHA256)
    assert bars == [{"length": len(WEIGHTS), "label": "tiny.onnx", "hidden": not terminal}]


def test_no_user_and_no_password_is_shown(web: Web, temporary: Path) -> None:
    assert without_user("https://user:p@ss@example.org:8/a@b") == "https://example.org:8/a@b"
    assert without_user("https://user:p%2Fs@example.org/a") == "https://example.org/a"
    url = web.url.replace("://", "://user:secret@")
    with pytest.raises(FileNotThereError) as told:
        download(f"{url}/tiny.onnx", temporary / "file", SHA256)
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:pa/SECRET@example.org/m",
        "https://user:12/SECRET@example.org/m",
        "https://user:pa?SECRET@example.org/m",
        "https://user:pa#SECRET@example.org/m",
        "https://example.org/m?token=SECRET",
        "https://example.org/m#SECRET",
        "https://user:SECRET@[::1/m",
        "https://user:SECRET@xn--a.com",
        "https://user:SECRET@/m",
        "https://user:SECRET@\x00/m",
    ],
)
def test_a_base_that_can_not_be_read_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(DownloadError, match="not shown: it may hold a") as told:
        check_base(url)
    assert "SECRET" not in str(told.value)
    assert "pa" not in re.findall(r"\w+", str(told.value))
    check_base("https://user:p%2Fa%40%3F@example.org:8/a%40b/%23")


@pytest.mark.parametrize("host", ["exa_mple..com", f"{'a' * 64}.com"])
def test_a_host_that_can_not_be_looked_up_is_told(host: str, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(DownloadError, match=r"is not an address that can be asked.*label") as told:
        download(f"http://user:SECRET@{host}/tiny.onnx", temporary / "file", SHA256)
    assert "SECRET" not in str(told.value)


def test_a_redirect_to_a_host_that_none_can_have_is_told(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    def redirect(request: BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", "http://xn--a.com/")
        request.send_header("Content-Length", "0")
        request.end_headers()

    monkeypatch.setattr(web, "answer", redirect)
    with pytest.raises(DownloadError, match=r"leads to none"):
        fetch(at(web, "/tiny.onnx"), SHA256)
