"""Batches do not wait for others; on BentoML's own dispatcher."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from bentoml._internal.marshal.dispatcher import CorkDispatcher

from models import store
from runners.base import RunnerOptions
from runners.batching import BATCHES_AT_ONCE, PromptDispatcher
from runners.detector import detector_runner
from runners.embedder import embedder_runner


async def lone_request_after_a_burst(dispatcher: CorkDispatcher[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The answer to one request, after fifty batches that had waited for ten seconds each."""

    async def no_training(*_: Any) -> None:
        pass

    monkeypatch.setattr(dispatcher, "train_optimizer", no_training)
    for _ in range(60):
        dispatcher.optimizer.log_outbound(1, 10.0, 0.01)
    dispatcher.optimizer.trigger_refresh()  # type: ignore[no-untyped-call]

    async def answer(batch: Sequence[str]) -> Sequence[str]:
        return [f"answer to {each}" for each in batch]

    try:
        async with asyncio.timeout(1.5):
            return str(await dispatcher(answer)("a request"))
    finally:
        dispatcher.shutdown()


def of_bentoml() -> CorkDispatcher[str, str]:
    return CorkDispatcher(300_000, 16, fallback=lambda: "none in time", get_batch_size=lambda _: 1)


def test_a_lone_request_after_a_burst_is_not_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = asyncio.run(lone_request_after_a_burst(PromptDispatcher(of_bentoml(), "gated"), monkeypatch))
    assert answered == "answer to a request"


def test_bentomls_own_holds_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why this is here: once this fails, PromptDispatcher's controller can go."""
    assert asyncio.run(lone_request_after_a_burst(of_bentoml(), monkeypatch)) == "none in time"


def test_a_batch_that_fails_gives_its_place_back() -> None:
    async def scenario() -> None:
        async def answer(batch: Sequence[str]) -> Sequence[str]:
            if "bad" in batch:
                raise RuntimeError("bad")
            return batch

        dispatcher = PromptDispatcher(of_bentoml(), "gated")
        call = dispatcher(answer)
        async with asyncio.timeout(30):
            for _ in range(3 * BATCHES_AT_ONCE):
                with pytest.raises(RuntimeError):
                    await call("bad")
            assert await call("good") == "good"
        dispatcher.shutdown()

    asyncio.run(scenario())


def test_a_queue_that_nobody_waits_for_makes_no_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runners.batching.BATCHES_AT_ONCE", 1)
    batches: list[Sequence[str]] = []

    async def scenario() -> None:
        go = asyncio.Event()

        async def answer(batch: Sequence[str]) -> Sequence[str]:
            batches.append(batch)
            await go.wait()
            return batch

        dispatcher = PromptDispatcher(CorkDispatcher(300_000, 1, fallback=str, get_batch_size=lambda _: 1), "gated")
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


def test_calls_of_which_no_batch_can_be_made_are_told_so(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async def answer(batch: Sequence[int]) -> Sequence[int]:
            return batch

        # The second does not fit into the batch of the first, and can't be split: a number is no rows.
        dispatcher = PromptDispatcher(CorkDispatcher(300_000, 3, fallback=int, get_batch_size=int), "gated")
        call = dispatcher(answer)
        async with asyncio.timeout(30):
            ended = await asyncio.gather(call(2), call(2), return_exceptions=True)
            assert [isinstance(each, Exception) for each in ended] == [True, True]
            assert await call(1) == 1
        dispatcher.shutdown()

    asyncio.run(scenario())
    assert caplog.text.count("no batch could be made") == 1


def test_both_runners_batch_that_way(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    monkeypatch.setattr("runners.batching.PromptDispatcher", lambda dispatcher, _: made.append(dispatcher))
    options = RunnerOptions(device="cpu", threads=1, max_batch=4, deadline_s=30)
    detector_runner(store.find("centerface"), options).to_asgi(is_main=False)
    embedder_runner(store.find("dlib-resnet-v1"), options).to_asgi(is_main=False)
    assert len(made) == 2
