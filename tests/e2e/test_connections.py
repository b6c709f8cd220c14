"""That the server has the connections of api/connections.py, and what a client meets that is refused while it sends."""

import contextlib
import http.client
import json
import shutil
import socket
import subprocess

import pytest

from tests.e2e.running import HTTP, Server

pytestmark = pytest.mark.e2e

MEBI = 1024 * 1024
HEAD = b"POST /v1/detect HTTP/1.1\r\nHost: x\r\n"


def port(server: Server) -> int:
    return int(server.url.rpartition(":")[2])


def ask(server: Server, request: bytes) -> bytes:
    """All that comes back until the server ends the connection."""
    with socket.create_connection(("127.0.0.1", port(server)), timeout=20) as connection:
        # What it says before all has been sent, it says all the same.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
        return answer


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET /v1/health\r\n\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (HEAD + b"Content-Length: abc\r\n\r\n", 400),
        (HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (HEAD + b"A: " + b"a" * MEBI, 431),
        (HEAD + b"a: b\r\n" * 100_000, 431),
    ],
    ids=lambda value: repr(value[:30]) if isinstance(value, bytes) else None,
)
def test_what_is_no_request(server: Server, request_: bytes, status: int) -> None:
    answer = ask(server, request_)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 %d" % status)
    assert b"content-type: application/json" in head
    assert set(json.loads(body)) == {"detail"}
    assert "Traceback" not in server.output


@pytest.mark.parametrize("wish", ["websocket", "h2c"])
def test_a_client_that_would_rather_speak_another_protocol(server: Server, wish: str) -> None:
    upgrade = {"connection": "Upgrade", "upgrade": wish}
    assert HTTP.get(f"{server.url}/v1/health", headers=upgrade).json() == {"status": "ok", "ready": True}
    photo = (server.folder / "docs" / "images" / "astronaut.jpg").read_bytes()
    assert len(server.answer("/v1/file/detect", headers=upgrade, files={"image": photo})["faces"]) == 1


@pytest.mark.parametrize(("key", "status"), [("wrong", 401), (None, 413)])
def test_a_client_that_sends_on_sees_why_it_was_refused(server: Server, key: str | None, status: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port(server), timeout=20)
    connection.request("POST", "/v1/detect", bytes(100 * MEBI), {"x-api-key": key or server.key})
    response = connection.getresponse()
    assert response.status == status
    assert response.headers["connection"] == "close"
    assert response.headers["cache-control"] == "no-store"
    assert set(json.loads(response.read())) == {"detail"}
    connection.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_sees_it_too(server: Server) -> None:
    command = ("curl", "-sS", "-o", "-", "-w", "%{http_code}", "-H", "x-api-key: wrong", "--data-binary", "@-")
    ended = subprocess.run(
        [*command, f"{server.url}/v1/detect"], input=bytes(100 * MEBI), capture_output=True, check=True
    )
    assert ended.stdout.endswith(b"401"), ended.stderr


@pytest.mark.parametrize(("key", "refused"), [("wrong", b"HTTP/1.1 401"), (None, b"HTTP/1.1 413")])
def test_nobody_is_asked_for_a_body_that_will_be_refused(server: Server, key: str | None, refused: bytes) -> None:
    fields = f"x-api-key: {key or server.key}\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n"
    assert ask(server, HEAD + fields.encode()).startswith(refused)


def test_five_hundred_idle_connections(server: Server) -> None:
    with contextlib.ExitStack() as idle:
        for number in range(500):
            connection = idle.enter_context(socket.create_connection(("127.0.0.1", port(server))))
            if number % 2:
                connection.sendall(HEAD)
        for path in ("/livez", "/readyz", "/v1/health"):
            assert HTTP.get(server.url + path).status_code == 200
        photo = (server.folder / "docs" / "images" / "astronaut.jpg").read_bytes()
        assert len(server.answer("/v1/file/detect", files={"image": photo})["faces"]) == 1
