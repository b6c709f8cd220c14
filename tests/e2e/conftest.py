"""The one server that most of these tests talk to, the one bento, and the page in the browser."""

import http.client
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from tests.e2e import browsing
from tests.e2e.bentos import Clone, Ended, make_clone
from tests.e2e.running import HTTP, NewServer, Server, make_server
from tests.repository import git


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # Hundreds of requests at a time on a slow machine may take longer than the default deadline of 30 s.
    yield from running(make_server(tmp_path_factory.mktemp("server"), {"FACEBENTO_DEADLINE_S": "150"}))


@pytest.fixture(scope="session")
def batching_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One whose runners are processes of their own, as on a GPU, and that has two for the API."""
    settings = {"FACEBENTO_DEADLINE_S": "150", "FACEBENTO_PLACEMENT": "processes", "FACEBENTO_WORKERS": "2"}
    yield from running(make_server(tmp_path_factory.mktemp("batching"), settings))


def running(server: Server) -> Iterator[Server]:
    """A server for some tests, of which the last one may stop it."""
    try:
        server.start()
        yield server
        assert server.process is not None
        assert server.process.poll() == 0 or server.stop() == 0, server.output
    finally:
        server.kill()


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[NewServer]:
    """Makes servers with settings of their own, not started yet."""
    made: list[Server] = []

    def make(**settings: str) -> Server:
        made.append(make_server(tmp_path / str(len(made)), settings))
        return made[-1]

    yield make
    for server in made:
        server.kill()


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return make_clone(tmp_path_factory.mktemp("clone"))


@dataclass
class Built:
    bento: Path
    of_another_clone: Path
    build: Ended


@pytest.fixture(scope="session")
def built(clone: Clone, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Two builds at once, which take no longer than one."""
    folder = tmp_path_factory.mktemp("another-clone")
    another = Clone(folder / "of-facebento", folder / "home", clone.commit)
    git(folder, "clone", "--quiet", str(clone.folder), another.folder.name)
    another.home.mkdir()
    (another.home / "models").symlink_to(clone.home / "models")
    first, second = clone.start("build", "--version", "first"), another.start("build", "--version", "second")
    ends = first.end(), second.end()
    for end in ends:
        assert end.status == 0, end.output
    return Built(clone.bento("first"), another.bento("second"), ends[0])


@pytest.fixture(scope="session")
def bento(built: Built) -> Path:
    """The bento facebento:first of the clone, in the clone's BENTOML_HOME."""
    return built.bento


@pytest.fixture(scope="session")
def bento_of_another_clone(built: Built) -> Path:
    return built.of_another_clone


@pytest.fixture(scope="session")
def build(built: Built) -> Ended:
    """The command that built the bento."""
    return built.build


@pytest.fixture
def page(browser: Chrome, server: Server) -> Iterator[browsing.Page]:
    """The page, newly opened and without a key. A test that leaves an error in the browser's console fails."""
    opened = browsing.Page(browser, server)
    yield opened
    opened.leave()


@pytest.fixture
def proxy(server: Server) -> Iterator[str]:
    """The address of a reverse proxy that has the service below a path of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._pass_on(None)

        def do_POST(self) -> None:
            self._pass_on(self.rfile.read(int(self.headers["content-length"])))

        def _pass_on(self, body: bytes | None) -> None:
            if not self.path.startswith("/faces/"):
                self.send_error(http.client.NOT_FOUND)
                return
            headers = {
                name: value for name, value in self.headers.items() if name.lower() not in {"host", "connection"}
            }
            path = self.path.removeprefix("/faces")
            answer = HTTP.request(self.command, server.url + path, headers=headers, content=body)
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}/faces/"
        listening.shutdown()
        thread.join()
