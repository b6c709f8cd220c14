"""API processes that are killed: they are replaced, and of the memory that they shared with runners nothing is left."""

import contextlib
import time
from dataclasses import dataclass

import httpx
import psutil
import pytest

from tests.e2e.running import HTTP, PROJECT, Server

pytestmark = pytest.mark.e2e

PHOTO = (PROJECT / "docs" / "images" / "astronaut.jpg").read_bytes()


def arenas(server: Server, name: str) -> int:
    """How many callers' memory the runner of that name has mapped."""
    return sum("facebento-rows" in each.path for each in server.worker(name).memory_maps(grouped=False))


def becomes(server: Server, name: str, count: int) -> None:
    end = time.monotonic() + 60
    while arenas(server, name) != count:
        assert time.monotonic() < end, arenas(server, name)
        # Each on a connection of its own, so that both processes have their share.
        server.post("/v1/file/embeddings", files={"image": PHOTO})


@dataclass
class Killed:
    with_models: psutil.Process
    of_two: psutil.Process


@pytest.fixture(scope="module")
def killed(server: Server, batching_server: Server) -> Killed:
    """One API process of each server, at the same time: BentoML takes up to ten seconds to notice it.

    Of the two whose runners are processes, both share memory with either runner.
    """
    for name in ("detector", "embedder"):
        becomes(batching_server, name, 2)
    killed = Killed(server.worker("facebento"), batching_server.worker("facebento"))
    for process in (killed.with_models, killed.of_two):
        process.kill()
    return killed


def test_what_a_killed_process_had_in_work_is_told_no_more(batching_server: Server, killed: Killed) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        while killed.of_two.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)  # it has not ended yet
    told = HTTP.get(f"{batching_server.url}/metrics").text
    assert 'process="api"' in told
    assert f'pid="{killed.of_two.pid}"' not in told


def test_memory_is_shared_by_two_api_processes_and_given_back_when_one_is_killed(
    batching_server: Server, killed: Killed
) -> None:
    # The one in its place shares memory of its own, and nothing stays of the old one.
    end = time.monotonic() + 60
    while arenas(batching_server, "detector") == 2:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert arenas(batching_server, "detector") == 1
    becomes(batching_server, "detector", 2)
    assert killed.of_two.pid not in {process.pid for _, process in batching_server.workers()}
    assert "shared memory" not in batching_server.output


def test_an_api_process_with_its_models_is_replaced(server: Server, killed: Killed) -> None:
    killed.with_models.wait(10)
    end = time.monotonic() + 60
    while True:
        assert time.monotonic() < end, server.output
        try:
            if HTTP.get(f"{server.url}/readyz").status_code == 200:
                break
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    assert server.worker("facebento").pid != killed.with_models.pid
    assert len(server.answer("/v1/file/detect", files={"image": PHOTO})["faces"]) == 1
