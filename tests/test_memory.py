import asyncio
import threading
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory import ImageMemory
from threads import Threads

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    async def in_time() -> T:
        return await asyncio.wait_for(work, 20)

    return asyncio.run(in_time())


async def settle() -> None:
    """Let everything happen that waits for nothing but the event loop."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def threads() -> Threads:
    return Threads(1, "test")


class Holders:
    """Tasks that hold memory until they are told to leave, and the order in which they came in."""

    def __init__(self, memory: ImageMemory) -> None:
        self.memory = memory
        self.inside: list[str] = []
        self.held: dict[str, int] = {}
        self._leave: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, name: str, size: int) -> None:
        self._leave[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._hold(name, size))
        await settle()

    async def leave(self, name: str) -> None:
        self._leave[name].set()
        await settle()

    async def cancel(self, name: str) -> None:
        self.tasks[name].cancel()
        await settle()

    async def _hold(self, name: str, size: int) -> None:
        async with self.memory.hold(size) as held:
            self.inside.append(name)
            self.held[name] = held.size
            try:
                await self._leave[name].wait()
            finally:
                del self.held[name]


def test_what_fits_is_lent_at_once_and_the_rest_in_its_order() -> None:
    async def scenario() -> None:
        holders = Holders(ImageMemory(10))
        for name, size in (("a", 6), ("b", 6), ("c", 1), ("d", 4)):
            await holders.ask(name, size)
        assert holders.inside == ["a"]  # c would fit, but b came first
        await holders.leave("a")
        assert holders.inside == ["a", "b", "c"]
        assert holders.memory.free_bytes == 3
        await holders.leave("c")
        assert holders.inside == ["a", "b", "c", "d"]
        await holders.leave("b")
        await holders.leave("d")
        assert holders.memory.free_bytes == 10

    run(scenario())


def test_more_than_there_is_runs_alone() -> None:
    async def scenario() -> None:
        holders = Holders(ImageMemory(10))
        for name, size in (("a", 1), ("b", 10**12), ("c", 1)):
            await holders.ask(name, size)
        assert holders.inside == ["a"]
        await holders.leave("a")
        assert holders.inside == ["a", "b"]
        assert holders.memory.free_bytes == 0
        await holders.leave("b")
        assert holders.inside == ["a", "b", "c"]
        assert holders.memory.free_bytes == 9

    run(scenario())


def test_what_waits_and_is_cancelled_makes_way_for_those_behind() -> None:
    async def scenario() -> None:
        holders = Holders(ImageMemory(10))
        for name, size in (("a", 6), ("b", 6), ("c", 4)):
            await holders.ask(name, size)
        await holders.cancel("b")
        assert holders.inside == ["a", "c"]
        await holders.cancel("a")
        await holders.cancel("c")
        assert holders.memory.free_bytes == 10

    run(scenario())


def test_a_turn_that_comes_as_its_task_is_cancelled_is_not_lost() -> None:
    async def scenario() -> None:
        holders = Holders(ImageMemory(10))
        async with holders.memory.hold(10):
            await holders.ask("a", 10)
            await holders.ask("b", 10)
        # Leaving has given the turn to a, which the event loop has not told yet.
        assert holders.memory.free_bytes == 0
        await holders.cancel("a")
        assert holders.inside == ["b"]
        await holders.leave("b")
        assert holders.memory.free_bytes == 10

    run(scenario())


def test_what_is_kept_is_all_that_is_held() -> None:
    async def scenario() -> None:
        memory = ImageMemory(10)
        async with memory.hold(8) as held:
            held.shrink(3)
            assert memory.free_bytes == 7
            held.shrink(5)  # never back to more
            assert (held.size, memory.free_bytes) == (3, 7)
        assert memory.free_bytes == 10

    run(scenario())


def test_memory_is_held_until_a_thread_that_can_not_be_stopped_is_done(threads: Threads) -> None:
    async def scenario() -> None:
        memory = ImageMemory(10)
        begun, go_on = threading.Event(), threading.Event()

        def work() -> None:
            begun.set()
            go_on.wait(10)

        async def request() -> None:
            async with memory.hold(10) as held:
                await held.in_thread(threads, work)

        task = asyncio.create_task(request())
        await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await settle()
        assert memory.free_bytes == 0
        go_on.set()
        async with memory.hold(10):
            pass
        assert memory.free_bytes == 10

    run(scenario())


def test_what_is_cancelled_before_its_thread_is_free_does_not_begin(threads: Threads) -> None:
    async def scenario() -> None:
        memory = ImageMemory(10)
        busy = threading.Event()
        threads.start(partial(busy.wait, 10))
        begun: list[int] = []

        async def request() -> None:
            async with memory.hold(10) as held:
                await held.in_thread(threads, partial(begun.append, 1))

        task = asyncio.create_task(request())
        await settle()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await settle()
        assert memory.free_bytes == 10
        busy.set()
        await threads.run(int)
        assert begun == []

    run(scenario())


def test_what_fails_on_a_thread_gives_its_memory_back(threads: Threads) -> None:
    async def scenario() -> None:
        memory = ImageMemory(10)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                async with memory.hold(7) as held:
                    await held.in_thread(threads, lambda: 1 // 0)
            assert memory.free_bytes == 10

    run(scenario())


ACTS = st.lists(st.tuples(st.sampled_from(["ask", "leave", "cancel", "both"]), st.integers(0, 14)), max_size=40)


@settings(deadline=None)
@given(ACTS)
def test_nothing_is_lost_lent_twice_or_out_of_turn(acts: list[tuple[str, int]]) -> None:
    async def scenario() -> None:
        holders = Holders(ImageMemory(10))
        asked: list[str] = []
        for number, (act, size) in enumerate(acts):
            if act == "ask":
                asked.append(str(number))
                await holders.ask(str(number), size)
            elif asked:
                name = asked[size % len(asked)]
                if act != "cancel":
                    holders._leave[name].set()
                if act == "both":  # in the same step of the event loop
                    holders.tasks[asked[(size + 1) % len(asked)]].cancel()
                if act == "cancel":
                    holders.tasks[name].cancel()
                await settle()
            assert sum(holders.held.values()) + holders.memory.free_bytes == 10
            assert holders.memory.free_bytes >= 0
            assert holders.inside == sorted(holders.inside, key=int)
        for name in asked:
            await holders.leave(name)
        await settle()
        assert all(task.done() for task in holders.tasks.values())
        assert holders.memory.free_bytes == 10

    run(scenario())
