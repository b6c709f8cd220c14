"""Many requests at once: none is lost, and they share batches."""

import asyncio
from collections import Counter

import cv2
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.e2e.running import Server, batch_sizes, encoded, jpeg

pytestmark = pytest.mark.e2e

Pixels = NDArray[np.uint8]

REQUESTS = 330


def test_no_request_of_hundreds_at_once_fails(server: Server) -> None:
    photo = (server.folder / "docs" / "images" / "astronaut.jpg").read_bytes()
    assert Counter(asyncio.run(_all_at_once(server, photo))) == {200: REQUESTS}, server.output


def test_nor_where_the_runners_are_processes_and_there_batches_form(batching_server: Server) -> None:
    server = batching_server
    photo = (server.folder / "docs" / "images" / "astronaut.jpg").read_bytes()
    answers = asyncio.run(_all_at_once(server, photo))
    assert Counter(answers) == {200: REQUESTS}, server.output
    metrics = httpx.get(f"{server.url}/metrics").text
    for method in ("detect", "embed"):
        sizes = batch_sizes(metrics, method)
        assert sizes["+Inf"] > sizes["1.0"], f"no batch of {method} was larger than one"


def test_more_faces_than_a_batch_holds_keep_their_order(
    server: Server, astronaut: Pixels, grace_hopper: Pixels
) -> None:
    """A wall of two alternating faces: 40 of them, where a batch of the embedder takes 32."""
    tiles = [astronaut[10:210, 130:330], cv2.resize(grace_hopper[60:430, 90:460], (200, 200))]
    wall = np.vstack([np.hstack([tiles[(row + column) % 2] for column in range(8)]) for row in range(5)])
    body = {"image": encoded(jpeg(wall.astype(np.uint8))), "maxResults": 750}
    found = server.answer("/v1/multi-embeddings", json=body)["embeddings_info_list"]
    assert len(found) == 40
    people = {0: [], 1: []}  # type: dict[int, list[list[float]]]
    for each in found:
        box = each["face_detect"]["boundingBox"]
        people[(box["left"] // 200 + box["top"] // 200) % 2].append(each["embeddings"])
    alike = {who: np.array(rows) @ np.array(rows).T for who, rows in people.items()}
    assert min(alike[0].min(), alike[1].min()) > 0.92 > (np.array(people[0]) @ np.array(people[1]).T).max()


async def _all_at_once(server: Server, photo: bytes) -> list[int]:
    face = jpeg(np.zeros((112, 112, 3), np.uint8))
    limits = httpx.Limits(max_connections=REQUESTS)
    async with httpx.AsyncClient(limits=limits, timeout=200, headers={"x-api-key": server.key}) as client:
        # Of twelve, eleven need no detection, which takes most of the time.
        async def one(number: int) -> int:
            if number % 12:
                response = await client.post(f"{server.url}/v1/file/embeddings-only", files={"image": face})
            elif number % 24:
                response = await client.post(f"{server.url}/v1/detect", json={"image": encoded(photo)})
            else:
                response = await client.post(f"{server.url}/v1/file/embeddings", files={"image": photo})
            return response.status_code

        return await asyncio.gather(*(one(number) for number in range(REQUESTS)))
