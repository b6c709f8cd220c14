import asyncio
import logging

import aiohttp
import pytest
from bentoml.exceptions import BentoMLException, ServiceUnavailable

from runners.client import call
from runners.errors import RunnerTimeoutError, RunnerUnavailableError


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


def connection_refused() -> Exception:
    return aiohttp.ClientConnectionError("refused")


def test_a_method_that_answers_is_called_once() -> None:
    method = Method()
    assert asyncio.run(call(method, 1, 2)) == "answer"
    assert method.calls == [(1, 2)]


@pytest.mark.parametrize("failure", [aiohttp.ServerDisconnectedError(), connection_refused()])
def test_a_dropped_connection_is_tried_once_more(failure: Exception) -> None:
    method = Method(failure)
    assert asyncio.run(call(method, 1, 2)) == "answer"
    assert method.calls == [(1, 2), (1, 2)]


def test_a_connection_dropped_twice_is_a_runner_that_is_down(caplog: pytest.LogCaptureFixture) -> None:
    method = Method(aiohttp.ServerDisconnectedError(), aiohttp.ServerDisconnectedError())
    with caplog.at_level(logging.WARNING, "facebento.runners"), pytest.raises(RunnerUnavailableError):
        asyncio.run(call(method))
    assert len(method.calls) == 2
    assert "ServerDisconnectedError" in caplog.text


@pytest.mark.parametrize("failure", [TimeoutError(), aiohttp.ServerTimeoutError(), aiohttp.ConnectionTimeoutError()])
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
    "failure", [aiohttp.ClientPayloadError(), BentoMLException("broken"), ServiceUnavailable("too busy")]
)
def test_any_other_failure_of_a_runner_is_told_and_not_tried_again(failure: Exception) -> None:
    method = Method(failure)
    with pytest.raises(RunnerUnavailableError, match="second") as told:
        asyncio.run(call(method))
    assert len(method.calls) == 1
    assert told.value.__cause__ is failure


def test_what_is_no_failure_of_a_runner_passes() -> None:
    with pytest.raises(KeyError):
        asyncio.run(call(Method(KeyError("x"))))


def test_a_cancelled_call_stays_cancelled() -> None:
    async def scenario() -> None:
        task = asyncio.create_task(call(asyncio.sleep, 60))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
