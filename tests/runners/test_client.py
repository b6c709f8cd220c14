import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import web
from bentoml.exceptions import BentoMLException, ServiceUnavailable

from runners.client import BUILDING_S, GIVEN_UP_S, MISSES, STARTING_S, RunnerClient
from runners.errors import RunnerTimeoutError, RunnerUnavailableError
from runners.remote import RemoteRunner
from runners.wire import SHAPE, write_answers

ROW, SLOW = np.zeros((1, 2), np.uint8), np.ones((1, 2), np.uint8)
ANSWER = np.array([[1.5, 2.5]], np.float32)
PLACEMENT = {"model": "a-model:1", "device": "cpu", "provider": "CPUExecutionProvider"}


class Method:
    """A runner's method that fails in the ways told, one call after the other, and then answers."""

    def __init__(self, *failures: Exception) -> None:
        self._failures = list(failures)
        self.calls: list[tuple[int, ...]] = []

    async def __call__(self, *args: int) -> str:
        self.calls.append(args)
        if self._failures:
            raise self._failures.pop(0)
        return "answer"


def client(method: Callable[..., Any]) -> RunnerClient:
    """A client of a runner with that one method."""

    async def placement() -> dict[str, str]:
        return PLACEMENT

    # With the headers that BentoML's own stand-in for a runner on another host sends.
    headers = {"Runner-Name": "detector"}
    proxy = SimpleNamespace(to_async=SimpleNamespace(method=method, placement=placement, default_headers=headers))
    return RunnerClient("detector", "a-model:1", lambda: proxy)


async def call(method: Callable[..., Any], *args: Any) -> Any:
    """As of a runner in this process, which is there once it was asked."""
    called = client(method)
    await called.watch(None)
    return await called.call("method", *args)


def connection_refused() -> Exception:
    return aiohttp.ClientConnectionError("refused")


def test_a_method_that_answers_is_called_once() -> None:
    method = Method()
    assert asyncio.run(call(method, 1, 2)) == "answer"
    assert method.calls == [(1, 2)]


@pytest.mark.parametrize("drops", [1, 2, 3])
@pytest.mark.parametrize("failure", [aiohttp.ServerDisconnectedError(), aiohttp.ClientOSError(), connection_refused()])
def test_a_dropped_connection_is_tried_again(failure: Exception, drops: int) -> None:
    method = Method(*[failure] * drops)
    assert asyncio.run(call(method, 1, 2)) == "answer"
    assert method.calls == [(1, 2)] * (drops + 1)


def test_a_connection_dropped_again_and_again_is_a_runner_that_is_down(caplog: pytest.LogCaptureFixture) -> None:
    method = Method(*[aiohttp.ServerDisconnectedError()] * 9)
    with caplog.at_level(logging.WARNING, "facebento.runners"), pytest.raises(RunnerUnavailableError):
        asyncio.run(call(method))
    assert len(method.calls) == 4
    assert "ServerDisconnectedError" in caplog.text


# What a runner answers at its own deadline.
TOLD_TIMEOUT = BentoMLException("late", error_code=HTTPStatus.GATEWAY_TIMEOUT)


@pytest.mark.parametrize(
    "failure", [TimeoutError(), aiohttp.ServerTimeoutError(), aiohttp.ConnectionTimeoutError(), TOLD_TIMEOUT]
)
def test_a_timeout_is_not_tried_again(failure: Exception) -> None:
    method = Method(failure)
    with pytest.raises(RunnerTimeoutError):
        asyncio.run(call(method))
    assert len(method.calls) == 1


def test_a_timeout_of_the_second_try_is_a_timeout() -> None:
    method = Method(aiohttp.ServerDisconnectedError(), aiohttp.ServerTimeoutError())
    with pytest.raises(RunnerTimeoutError):
        asyncio.run(call(method))
    assert len(method.calls) == 2


@pytest.mark.parametrize(
    "failure",
    # Of a runner in another process, and of one in this process.
    [aiohttp.ClientPayloadError(), BentoMLException("broken"), ServiceUnavailable("too busy"), RuntimeError("CUDA")],
)
def test_any_other_failure_of_a_runner_is_told_and_not_tried_again(failure: Exception) -> None:
    method = Method(failure)
    with pytest.raises(RunnerUnavailableError, match="second") as told:
        asyncio.run(call(method))
    assert len(method.calls) == 1
    assert told.value.__cause__ is failure


def test_a_cancelled_call_stays_cancelled() -> None:
    async def scenario() -> None:
        task = asyncio.create_task(call(asyncio.sleep, 60))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runners.client.PROBE_PAUSE_S", 0.02)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The client's clock, which stands still but for what is added to `now`, in seconds."""
    clock = SimpleNamespace(now=1000.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr("runners.client.time", clock)
    return clock


@asynccontextmanager
async def runner_on(
    socket: Path | None, status: list[int], told: Any = PLACEMENT, asked: list[int] | None = None
) -> AsyncIterator[str]:
    """A server that answers /placement with the first status of the list, on a Unix socket, or on TCP for None.

    asked: is given the status of each answer.
    """

    async def placement(request: web.Request) -> web.Response:
        assert request.headers["Runner-Name"] == "detector"
        if asked is not None:
            asked.append(status[0])
        return web.json_response(told, status=status[0])

    async def method(request: web.Request) -> web.Response:
        if await request.read() == SLOW.tobytes():
            await asyncio.sleep(60)
        answers, shape = write_answers(ANSWER)
        return web.Response(body=answers, headers={SHAPE: shape})

    app = web.Application()
    app.router.add_post("/placement", placement)
    app.router.add_post("/method/1", method)
    serving = web.AppRunner(app, handler_cancellation=True)
    await serving.setup()
    site = web.UnixSite(serving, str(socket)) if socket else web.TCPSite(serving, "127.0.0.1", 0)
    await site.start()
    try:
        yield socket.as_uri() if socket else f"http://127.0.0.1:{serving.addresses[0][1]}"
    finally:
        await serving.cleanup()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(0.01)


async def cancel(watch: asyncio.Task[None]) -> None:
    watch.cancel()
    with suppress(asyncio.CancelledError):
        await watch


async def becomes(watched: RunnerClient, *, present: bool) -> None:
    await until(lambda: watched.present is present)


def test_a_runner_that_is_gone_is_refused_at_once_until_it_is_back(tmp_path: Path) -> None:
    socket, status = tmp_path / "runner.sock", [200]
    watched = client(Method())

    async def scenario() -> None:
        async with runner_on(socket, status):
            watch = asyncio.create_task(watched.watch(socket.as_uri()))
            await becomes(watched, present=True)
            assert watched.placement == PLACEMENT
            status[0] = 503
            await becomes(watched, present=False)
            with pytest.raises(RunnerUnavailableError):
                await watched.call("method", ROW)
            with pytest.raises(RunnerUnavailableError):
                _ = watched.placement
            status[0] = 200
            await becomes(watched, present=True)
            assert (await watched.call("method", ROW)).tolist() == ANSWER.tolist()
        await becomes(watched, present=False)
        await cancel(watch)

    asyncio.run(scenario())


def test_calls_in_work_end_as_soon_as_the_runner_is_known_to_be_gone(tmp_path: Path) -> None:
    socket, status = tmp_path / "runner.sock", [200]

    async def scenario() -> None:
        watched = client(Method())
        async with runner_on(socket, status):
            watch = asyncio.create_task(watched.watch(socket.as_uri()))
            await becomes(watched, present=True)
            waiting = [asyncio.create_task(watched.call("method", SLOW)) for _ in range(3)]
            await asyncio.sleep(0)
            status[0] = 503
            async with asyncio.timeout(10):
                ended = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(each) for each in ended] == [RunnerUnavailableError] * 3
            assert not watched.present
            # The next time that it goes there is nothing left of them.
            status[0] = 200
            await becomes(watched, present=True)
            assert (await watched.call("method", ROW)).tolist() == ANSWER.tolist()
            status[0] = 503
            await becomes(watched, present=False)
            assert not watch.done()
            await cancel(watch)

    asyncio.run(scenario())


def test_a_runner_that_is_full_is_told_from_one_that_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    method = Method(BentoMLException("full", error_code=HTTPStatus.TOO_MANY_REQUESTS))
    with (
        caplog.at_level(logging.WARNING, "facebento.runners"),
        pytest.raises(RunnerUnavailableError, match="as it holds"),
    ):
        asyncio.run(call(method))
    assert len(method.calls) == 1
    assert caplog.text == ""


def test_a_runner_is_not_there_before_it_has_answered(tmp_path: Path) -> None:
    watched = client(Method())

    async def scenario() -> None:
        assert not watched.present
        watch = asyncio.create_task(watched.watch((tmp_path / "nobody.sock").as_uri()))
        await asyncio.sleep(0.2)
        assert not watched.present
        await cancel(watch)

    asyncio.run(scenario())


def test_one_missed_probe_is_not_a_runner_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MISSES > 1
    socket, status = tmp_path / "runner.sock", [200]
    asked: list[int] = []
    watched = client(Method())
    probe = watched._probe
    present: list[bool] = []  # after each probe

    async def told(remote: RemoteRunner) -> None:
        await probe(remote)
        present.append(watched.present)

    monkeypatch.setattr(watched, "_probe", told)

    async def scenario() -> None:
        async with runner_on(socket, status, asked=asked):
            watch = asyncio.create_task(watched.watch(socket.as_uri()))
            await becomes(watched, present=True)
            status[0] = 503
            await until(lambda: asked.count(503) > MISSES)
            await cancel(watch)

    asyncio.run(scenario())
    missed = [there for there, answered in zip(present, asked, strict=False) if answered == 503]
    assert missed[:MISSES] == [True] * (MISSES - 1) + [False]


def test_a_runner_of_another_model_is_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    socket = tmp_path / "runner.sock"
    asked: list[int] = []
    watched = client(Method())

    async def scenario() -> None:
        async with runner_on(socket, [200], PLACEMENT | {"model": "a-model:2"}, asked) as url:
            watch = asyncio.create_task(watched.watch(url))
            await until(lambda: len(asked) > 3)
            assert not watched.present
            await cancel(watch)

    with caplog.at_level(logging.WARNING, "facebento.runners"):
        asyncio.run(scenario())
    assert caplog.text.count("for a-model:1: it runs a-model:2") == 1


async def never_given_up(watched: RunnerClient, url: str) -> None:
    watch = asyncio.create_task(watched.watch(url))
    await asyncio.sleep(0.3)
    assert not watched.present
    assert not watched.given_up
    await cancel(watch)


def test_a_runner_that_stays_away_is_given_up_and_taken_back(tmp_path: Path, clock: SimpleNamespace) -> None:
    socket, status = tmp_path / "runner.sock", [200]
    watched = client(Method())

    async def scenario() -> None:
        async with runner_on(socket, status):
            watch = asyncio.create_task(watched.watch(socket.as_uri()))
            await becomes(watched, present=True)
            status[0] = 503
            await becomes(watched, present=False)
            clock.now += GIVEN_UP_S - 1
            given_up = [watched.given_up]
            clock.now += 2
            given_up.append(watched.given_up)
            status[0] = 200
            await becomes(watched, present=True)
            given_up.append(watched.given_up)
            assert given_up == [False, True, False]
            await cancel(watch)

    asyncio.run(scenario())


def test_a_runner_that_is_still_starting_is_not_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runners.client.GIVEN_UP_S", 0.0)
    asyncio.run(never_given_up(client(Method()), (tmp_path / "nobody.sock").as_uri()))


def test_a_runner_that_never_came_is_given_up_later(tmp_path: Path, clock: SimpleNamespace) -> None:
    watched = client(Method())

    async def scenario() -> None:
        watch = asyncio.create_task(watched.watch((tmp_path / "nobody.sock").as_uri()))
        await asyncio.sleep(0)
        clock.now += STARTING_S - 1
        given_up = [watched.given_up]
        clock.now += 2
        given_up.append(watched.given_up)
        assert given_up == [False, True]
        await cancel(watch)

    asyncio.run(scenario())


def test_one_that_builds_its_engines_first_has_longer(tmp_path: Path, clock: SimpleNamespace) -> None:
    watched = RunnerClient("detector", "a-model:1", client(Method())._proxy, BUILDING_S)

    async def scenario() -> None:
        watch = asyncio.create_task(watched.watch((tmp_path / "nobody.sock").as_uri()))
        await asyncio.sleep(0)
        clock.now += STARTING_S + 1
        given_up = [watched.given_up]
        clock.now += BUILDING_S
        given_up.append(watched.given_up)
        assert given_up == [False, True]
        await cancel(watch)

    asyncio.run(scenario())


@pytest.mark.parametrize("told", [[], "text", None, {}])
def test_an_answer_that_is_none_is_a_missed_probe(tmp_path: Path, told: Any) -> None:
    socket = tmp_path / "runner.sock"
    asked: list[int] = []
    watched = client(Method())

    async def scenario() -> None:
        async with runner_on(socket, [200], told, asked) as url:
            watch = asyncio.create_task(watched.watch(url))
            await until(lambda: len(asked) > 2)
            assert not watched.present
            assert not watch.done()
            await cancel(watch)

    asyncio.run(scenario())


def test_a_runner_on_another_host_is_never_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runners.client.GIVEN_UP_S", 0.0)
    watched = client(Method())

    async def scenario() -> None:
        status = [200]
        async with runner_on(None, status) as url:
            watch = asyncio.create_task(watched.watch(url))
            await becomes(watched, present=True)
            status[0] = 503
            await becomes(watched, present=False)
            await asyncio.sleep(0.3)
            assert not watched.given_up
            await cancel(watch)

    asyncio.run(scenario())


@pytest.mark.parametrize("failing", ["tidy", "share", "placement"])
def test_a_watch_outlives_whatever_fails_in_a_round(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    socket, failures = tmp_path / "runner.sock", 0
    watched = client(Method())
    works = getattr(RemoteRunner, failing)

    def fails(self: RemoteRunner) -> Any:
        nonlocal failures
        if watched._remote is None:  # it is only being opened
            return works(self)
        failures += 1
        raise RuntimeError("no such thing")

    async def scenario() -> None:
        async with runner_on(socket, [200]):
            monkeypatch.setattr(RemoteRunner, failing, fails)
            watch = asyncio.create_task(watched.watch(socket.as_uri()))
            await until(lambda: failures > (0 if failing == "share" else 3) or watch.done())
            assert not watch.done()
            monkeypatch.setattr(RemoteRunner, failing, works)
            await becomes(watched, present=True)
            assert (await watched.call("method", ROW)).tolist() == ANSWER.tolist()
            await cancel(watch)

    asyncio.run(scenario())
    [record] = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert record.exc_info is not None


def test_a_runner_whose_watch_has_ended_is_gone_and_given_up(tmp_path: Path, clock: SimpleNamespace) -> None:
    socket = tmp_path / "runner.sock"
    watched = client(Method())

    async def scenario() -> None:
        async with runner_on(socket, [200]):
            watch = asyncio.create_task(watched.watch(socket.as_uri()))
            await becomes(watched, present=True)
            await cancel(watch)

    asyncio.run(scenario())
    assert not watched.present
    clock.now += GIVEN_UP_S + 1
    assert watched.given_up


def test_a_runner_in_this_process_is_there_once_it_is_made() -> None:
    watched = client(Method())
    asyncio.run(watched.watch(None))
    assert watched.present
    assert not watched.given_up
    assert watched.placement == PLACEMENT
