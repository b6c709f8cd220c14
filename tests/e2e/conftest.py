"""The one server that most of these tests talk to."""

from collections.abc import Iterator

import pytest

from tests.e2e.running import Server, make_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # Hundreds of requests at a time on a slow machine may take longer than the default deadline of 30 s.
    made = make_server(tmp_path_factory.mktemp("server"), {"FACEBENTO_DEADLINE_S": "150"})
    made.start()
    yield made
    assert made.stop() == 0, made.output
