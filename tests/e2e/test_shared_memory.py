"""Rows in memory that API processes and runners share: who holds it, and what is left when an API process is killed."""

import time

import pytest

from tests.e2e.running import NewServer, Server

pytestmark = pytest.mark.e2e


def arenas(server: Server, name: str) -> int:
    """How many callers' memory the runner of that name has mapped."""
    return sum("facebento-rows" in each.path for each in server.worker(name).memory_maps(grouped=False))


def becomes(server: Server, name: str, count: int, photo: bytes) -> None:
    end = time.monotonic() + 60
    while arenas(server, name) != count:
        assert time.monotonic() < end, arenas(server, name)
        # Each on a connection of its own, so that both processes have their share.
        server.post("/v1/file/embeddings", files={"image": photo})


def test_memory_is_shared_by_two_api_processes_and_given_back_when_one_is_killed(new_server: NewServer) -> None:
    server = new_server(FACEBENTO_WORKERS="2", FACEBENTO_PLACEMENT="processes")
    server.start()
    photo = (server.folder / "docs" / "images" / "astronaut.jpg").read_bytes()
    for name in ("detector", "embedder"):
        becomes(server, name, 2, photo)
    killed = server.worker("facebento")
    killed.kill()
    # The one in its place shares memory of its own, and nothing stays of the old one.
    end = time.monotonic() + 60
    while arenas(server, "detector") == 2:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert arenas(server, "detector") == 1
    becomes(server, "detector", 2, photo)
    assert "shared memory" not in server.output
    assert server.stop() == 0
