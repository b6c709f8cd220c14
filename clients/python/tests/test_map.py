"""Many calls at a time: bounded, lazy, each with its result or its error, and none left behind."""

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from facebento_client import AsyncClient


class Calls:
    """Of a method, and how many there were at a time."""

    def __init__(self) -> None:
        self.most = 0
        self._under_way = 0

    async def method(self, item: int) -> int:
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        try:
            await asyncio.sleep(0)
        finally:
            self._under_way -= 1
        if item % 5 == 4:
            raise ValueError(item)
        return item * 10


def test_each_item_comes_with_its_result_or_its_error() -> None:
    calls = Calls()

    async def run() -> dict[int, int | Exception]:
        return {item: found async for item, found in AsyncClient.map(calls.method, range(20), concurrency=3)}

    found = asyncio.run(run())
    assert sorted(found) == list(range(20))
    for item, result in found.items():
        assert isinstance(result, ValueError) if item % 5 == 4 else result == item * 10
    assert calls.most == 3


def test_leaving_the_loop_takes_no_more_and_cancels_the_rest() -> None:
    taken: list[int] = []
    cancelled: list[int] = []

    def endless() -> Iterator[int]:
        for item in itertools.count():
            taken.append(item)
            yield item

    async def method(item: int) -> None:
        try:
            await asyncio.Event().wait() if item else None
        except asyncio.CancelledError:
            cancelled.append(item)
            raise

    async def run() -> None:
        results = AsyncClient.map(method, endless(), concurrency=4)
        async for _ in results:
            break
        await results.aclose()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())
    assert (taken, sorted(cancelled)) == ([0, 1, 2, 3], [1, 2, 3])


def test_at_least_one_at_a_time() -> None:
    async def run() -> None:
        async for _ in AsyncClient.map(Calls().method, [1], concurrency=0):
            pass

    with pytest.raises(ValueError, match="at least one"):
        asyncio.run(run())
