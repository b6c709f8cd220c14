"""A runner that dies at work, and work that nobody waits for any more, as clients and Prometheus see them."""

import asyncio
import re
import time
from collections import Counter

import httpx
import psutil
import pytest

from tests.e2e.running import HTTP, NewServer, Server

pytestmark = pytest.mark.e2e


def worker(server: Server, name: str) -> psutil.Process:
    """The process that serves the BentoML service of that name."""
    assert server.process is not None
    for process in psutil.Process(server.process.pid).children():
        words = process.cmdline() if process.status() != psutil.STATUS_ZOMBIE else []
        if "--service-name" in words and words[words.index("--service-name") + 1] == name:
            return process
    raise LookupError(name)


def answered(server: Server, runner: str, status: int) -> int:
    """How many calls a runner has answered with that status, from /metrics."""
    rows = re.findall(
        rf'^bentoml_service_request_total{{endpoint="/(?:detect|embed)/.*?http_response_code="{status}"'
        rf'.*?runner_name="{runner}".*?}} (\S+)$',
        HTTP.get(f"{server.url}/metrics").text,
        re.MULTILINE,
    )
    return int(sum(map(float, rows)))


async def burst(server: Server, count: int, photo: bytes) -> list[httpx.Response]:
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=count), timeout=200) as client:
        headers = {"x-api-key": server.key}
        url = f"{server.url}/v1/file/detect"
        return await asyncio.gather(*(client.post(url, headers=headers, files={"image": photo}) for _ in range(count)))


def test_a_runner_that_is_killed_at_work_ends_what_it_had_and_is_replaced(new_server: NewServer) -> None:
    deadline_s = 120
    server = new_server(FACEBENTO_DEADLINE_S=str(deadline_s))
    server.start()
    photo = (server.folder / "docs" / "images" / "astronaut.jpg").read_bytes()
    right = server.answer("/v1/file/detect", files={"image": photo})["faces"]
    detector = worker(server, "detector")

    async def scenario() -> list[httpx.Response]:
        waiting = asyncio.create_task(burst(server, 30, photo))
        while await asyncio.to_thread(answered, server, "detector", 200) < 10:  # noqa: ASYNC110  there is no event
            await asyncio.sleep(0.05)
        detector.kill()
        return await waiting

    begun = time.monotonic()
    responses = asyncio.run(scenario())
    assert time.monotonic() - begun < deadline_s / 2
    assert {response.status_code for response in responses} <= {200, 503}
    for response in responses:
        if response.status_code == 200:
            assert response.json()["faces"] == right
        else:
            assert response.headers["retry-after"]
            assert set(response.json()) == {"detail"}
    end = time.monotonic() + 30
    while HTTP.get(f"{server.url}/readyz").status_code != 200:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert server.answer("/v1/file/detect", files={"image": photo})["faces"] == right
    assert worker(server, "detector").pid != detector.pid
    assert server.stop() == 0


def test_the_deadline_reaches_the_runners(new_server: NewServer) -> None:
    # So slow that most of the burst is late.
    server = new_server(
        FACEBENTO_DEADLINE_S="1.5", FACEBENTO_DEVICE="cpu", FACEBENTO_THREADS="1", FACEBENTO_MAX_CONCURRENCY="80"
    )
    server.start()
    photo = (server.folder / "docs" / "images" / "astronaut.jpg").read_bytes()
    statuses = Counter(response.status_code for response in asyncio.run(burst(server, 80, photo)))
    assert statuses[504]
    assert set(statuses) <= {200, 504}
    # Some were late before their image was decoded, some after the detector had begun with them.
    end = time.monotonic() + 10
    while not (dropped := answered(server, "detector", 499)):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert dropped <= statuses[504]
    assert server.post("/v1/file/detect", files={"image": photo}).status_code == 200
    assert server.stop() == 0
