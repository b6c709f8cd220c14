"""What commands ask of a service on this machine, where the environment names a proxy."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cli.doctor import machine
from cli.here import ask


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Of what answers as the service does. The proxy of the environment answers nobody."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"name": "facebento"}')

        def log_message(self, *_: object) -> None: ...  # pytest shows it

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_it_is_asked_without_the_proxy(port: int) -> None:
    with ask(f"http://127.0.0.1:{port}/readyz", timeout_s=5) as answer:
        assert answer.status == 200
    assert machine._is_facebento(port)
    assert machine._port(port).told == "a facebento is listening there already"
