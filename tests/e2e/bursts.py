"""Many requests at once, and what /readyz and /metrics tell of a server meanwhile."""

import asyncio
import re
import time
from collections.abc import Callable

import httpx

from tests.e2e.running import HTTP, Server


def wait_for(server: Server, status: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    while HTTP.get(f"{server.url}/readyz").status_code != status:
        assert time.monotonic() < end, f"/readyz did not say {status} within {seconds} s"
        time.sleep(0.1)


def metrics(server: Server) -> str:
    return HTTP.get(f"{server.url}/metrics").text


def metric(server: Server, rows: str) -> int:
    """The sum of the rows that begin with this pattern, from /metrics."""
    found = re.findall(rf"^{rows}.* (\S+)$", metrics(server), re.MULTILINE)
    return int(sum(map(float, found)))


def in_work(server: Server, path: str) -> int:
    return metric(server, f'bentoml_service_request_in_progress{{endpoint="{path}"')


def answered(server: Server, runner: str, status: int) -> int:
    """How many calls a runner has answered with that status."""
    what = rf'endpoint="/(?:detect|embed)/.*?http_response_code="{status}".*?runner_name="{runner}"'
    return metric(server, f"bentoml_service_request_total{{{what}")


def photo(server: Server) -> bytes:
    return (server.folder / "docs" / "images" / "astronaut.jpg").read_bytes()


async def burst(
    server: Server, count: int, path: str = "/v1/file/detect", meanwhile: Callable[[], object] | None = None
) -> list[httpx.Response]:
    """That many requests at once. What is to be done meanwhile, is done when all of them have arrived."""
    picture = photo(server)
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=count), timeout=200) as client:
        headers = {"x-api-key": server.key}
        sent = [
            asyncio.create_task(client.post(server.url + path, headers=headers, files={"image": picture}))
            for _ in range(count)
        ]
        if meanwhile:
            arrived = 0
            while arrived < count:
                await asyncio.sleep(0.05)  # there is no event
                arrived = sum(task.done() for task in sent)
                arrived += await asyncio.to_thread(in_work, server, path)
            meanwhile()
        return await asyncio.gather(*sent)
