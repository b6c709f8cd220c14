"""The one server that most of these tests talk to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.running import NewServer, Server, make_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # Hundreds of requests at a time on a slow machine may take longer than the default deadline of 30 s.
    made = make_server(tmp_path_factory.mktemp("server"), {"FACEBENTO_DEADLINE_S": "150"})
    made.start()
    yield made
    try:
        assert made.stop() == 0, made.output
    finally:
        made.kill()


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
