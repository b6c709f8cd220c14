"""Batches do not wait for others; on BentoML's own dispatcher."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from bentoml._internal.marshal.dispatcher import CorkDispatcher, Optimizer

from models import store
from runners.base import RunnerOptions
from runners.batching import OverlappingService, PromptDispatcher, PromptOptimizer, PromptService
from runners.detector import detector_runner
from runners.embedder import embedder_runner


async def lone_request_after_a_burst(optimizer: Optimizer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The answer to one request, after fifty batches that had waited for ten seconds each."""
    dispatcher: CorkDispatcher[str, str] = CorkDispatcher(
        300_000, 16, fallback=lambda: "none in time", get_batch_size=lambda _: 1
    )

    async def no_training(*_: Any) -> None:
        pass

    monkeypatch.setattr(dispatcher, "train_optimizer", no_training)
    dispatcher.optimizer = optimizer
    for _ in range(60):
        optimizer.log_outbound(1, 10.0, 0.01)
    optimizer.trigger_refresh()  # type: ignore[no-untyped-call]

    async def answer(batch: Sequence[str]) -> Sequence[str]:
        return [f"answer to {each}" for each in batch]

    try:
        async with asyncio.timeout(1.5):
            return str(await dispatcher(answer)("a request"))
    finally:
        dispatcher.shutdown()


def test_a_lone_request_after_a_burst_is_not_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asyncio.run(lone_request_after_a_burst(PromptOptimizer(300), monkeypatch)) == "answer to a request"


def test_bentomls_own_holds_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why this is here: once this fails, runners/batching.py can go."""
    assert asyncio.run(lone_request_after_a_burst(Optimizer(300), monkeypatch)) == "none in time"


def test_a_queue_that_nobody_waits_for_makes_no_batch() -> None:
    batches: list[Sequence[str]] = []

    async def scenario() -> None:
        go = asyncio.Event()

        async def answer(batch: Sequence[str]) -> Sequence[str]:
            batches.append(batch)
            await go.wait()
            return batch

        dispatcher = PromptDispatcher(CorkDispatcher(300_000, 1, fallback=str, get_batch_size=lambda _: 1))
        call = dispatcher(answer)
        first, gone = asyncio.create_task(call("first")), asyncio.create_task(call("gone"))
        async with asyncio.timeout(30):
            while not batches:  # noqa: ASYNC110  there is no event to wait for
                await asyncio.sleep(0.001)
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
            go.set()
            assert await first == "first"
            while dispatcher._queue:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            assert await call("last") == "last"
        dispatcher.shutdown()

    asyncio.run(scenario())
    assert batches == [("first",), ("last",)]


def test_as_many_batches_run_at_a_time_as_it_is_told() -> None:
    begun: list[Sequence[str]] = []

    async def scenario() -> None:
        go = asyncio.Event()

        async def answer(batch: Sequence[str]) -> Sequence[str]:
            begun.append(batch)
            await go.wait()
            return batch

        like: CorkDispatcher[str, str] = CorkDispatcher(300_000, 1, fallback=str, get_batch_size=lambda _: 1)
        dispatcher = PromptDispatcher(like, in_flight=2)
        call = dispatcher(answer)
        calls = [asyncio.create_task(call(each)) for each in ("first", "second", "third")]
        async with asyncio.timeout(30):
            while len(begun) < 2:  # noqa: ASYNC110  there is no event to wait for
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)
            assert begun == [("first",), ("second",)]
            go.set()
            assert await asyncio.gather(*calls) == ["first", "second", "third"]
        dispatcher.shutdown()

    asyncio.run(scenario())


@pytest.mark.parametrize(("service", "in_flight"), [(PromptService, 1), (OverlappingService, 2)])
def test_a_service_tells_its_dispatchers_how_many_batches(
    service: type[PromptService], in_flight: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    init = PromptDispatcher.__init__

    def noted(self: PromptDispatcher, like: Any, batches: int) -> None:
        told.append(batches)
        init(self, like, batches)

    monkeypatch.setattr(PromptDispatcher, "__init__", noted)
    monkeypatch.setattr("runners.base.PromptService", service)
    options = RunnerOptions(device="cpu", threads=1, max_batch=4, deadline_s=30)
    detector_runner(store.find("centerface"), options).to_asgi(is_main=False)
    assert told == [in_flight]


def test_both_runners_batch_that_way(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Optimizer] = []
    monkeypatch.setattr(PromptOptimizer, "__init__", lambda self, _: made.append(self))
    options = RunnerOptions(device="cpu", threads=1, max_batch=4, deadline_s=30)
    detector_runner(store.find("centerface"), options).to_asgi(is_main=False)
    embedder_runner(store.find("dlib-resnet-v1"), options).to_asgi(is_main=False)
    assert len(made) == 2
