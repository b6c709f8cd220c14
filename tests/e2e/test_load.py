"""Many requests at once: none is lost, and they share batches."""

import asyncio
from collections import Counter

import httpx
import pytest

from tests.e2e.running import Server, batch_sizes, encoded

pytestmark = pytest.mark.e2e

REQUESTS = 330


def test_no_request_of_hundreds_at_once_fails_and_batches_form(server: Server) -> None:
    photo = (server.folder / "docs" / "images" / "astronaut.jpg").read_bytes()
    answers = asyncio.run(_all_at_once(server, photo))
    assert Counter(answers) == {200: REQUESTS}
    metrics = httpx.get(f"{server.url}/metrics").text
    for method in ("detect", "embed"):
        sizes = batch_sizes(metrics, method)
        assert sizes["+Inf"] > sizes["1.0"], f"no batch of {method} was larger than one"


async def _all_at_once(server: Server, photo: bytes) -> list[int]:
    limits = httpx.Limits(max_connections=REQUESTS)
    async with httpx.AsyncClient(limits=limits, timeout=200, headers={"x-api-key": server.key}) as client:

        async def one(number: int) -> int:
            if number % 2:
                response = await client.post(f"{server.url}/v1/detect", json={"image": encoded(photo)})
            else:
                response = await client.post(f"{server.url}/v1/file/embeddings", files={"image": photo})
            return response.status_code

        return await asyncio.gather(*(one(number) for number in range(REQUESTS)))
