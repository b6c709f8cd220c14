"""What becomes of the work of a process that is killed or stopped: the last tests with the servers that tests share."""

import asyncio
import time
from collections import Counter

import httpx
import psutil
import pytest

from tests.e2e.bursts import answered, burst, in_work, metrics, photo, wait_for
from tests.e2e.running import Server

pytestmark = pytest.mark.e2e

# Before the servers' deadline: nobody has to wait for it.
SOON_S = 60


def test_a_runner_that_is_killed_at_work_ends_what_it_had_and_is_replaced(batching_server: Server) -> None:
    server = batching_server
    right = server.answer("/v1/file/detect", files={"image": photo(server)})["faces"]
    detector = server.worker("detector")

    async def scenario() -> list[httpx.Response]:
        before = answered(server, "detector", 200)
        waiting = asyncio.create_task(burst(server, 30))
        # There is no event.
        while await asyncio.to_thread(answered, server, "detector", 200) < before + 10:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        detector.kill()
        return await waiting

    assert f'pid="{detector.pid}"' in metrics(server)
    begun = time.monotonic()
    responses = asyncio.run(scenario())
    assert time.monotonic() - begun < SOON_S
    assert f'pid="{detector.pid}"' not in metrics(server)
    assert {response.status_code for response in responses} <= {200, 503}
    for response in responses:
        if response.status_code == 200:
            assert response.json()["faces"] == right
        else:
            assert response.headers["retry-after"]
            assert set(response.json()) == {"detail"}
    # Whether /readyz tells it depends on who is faster, the probe or BentoML's replacement.
    end = time.monotonic() + 30
    while (last := server.post("/v1/file/detect", files={"image": photo(server)})).status_code == 503:
        assert time.monotonic() < end, server.output
        time.sleep(0.1)
    assert last.json()["faces"] == right
    wait_for(server, 200, 30)
    assert server.worker("detector").pid != detector.pid
    assert 'facebento_process_starts_total{process="detector"} 2.0' in metrics(server)


def terminate(server: Server, *processes: psutil.Process) -> None:
    """SIGTERM to these processes of it while it works on many requests: it answers them all, and is gone."""
    path = "/v1/file/embeddings"

    def send() -> None:
        assert in_work(server, path) > 8
        for process in processes:
            process.terminate()

    responses = asyncio.run(burst(server, 24, path, meanwhile=send))
    assert Counter(response.status_code for response in responses) == {200: 24}
    assert server.process is not None
    assert server.process.wait(30) == 0


def test_sigterm_loses_nothing_that_is_in_flight(server: Server) -> None:
    assert server.process is not None
    terminate(server, psutil.Process(server.process.pid))


def test_sigterm_to_each_process_as_systemd_sends_it_loses_nothing(batching_server: Server) -> None:
    assert batching_server.process is not None
    workers = [process for _, process in batching_server.workers()]
    assert len(workers) == 4
    terminate(batching_server, *workers, psutil.Process(batching_server.process.pid))
