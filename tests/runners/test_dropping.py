"""Calls that nobody waits for, too many calls, and wrong ones: over BentoML's server and this caller, on a socket."""

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, cast

import aiohttp
import bentoml
import numpy as np
import pytest
import uvicorn
from numpy.typing import NDArray

from runners import calls
from runners.base import RunnerOptions
from runners.client import RunnerClient
from runners.errors import RunnerUnavailableError
from runners.wire import ROWS, NoInput, rows_of

OPTIONS = RunnerOptions(device="cpu", threads=1, max_batch=4, deadline_s=30)
PLACEMENT = {"model": "a-model:1", "device": "cpu", "provider": "CPUExecutionProvider"}

# BentoML's, on each probe.
pytestmark = pytest.mark.filterwarnings("ignore:Accessing the 'model_fields' attribute:DeprecationWarning")

Call = Callable[..., asyncio.Task[Any]]


def rows(*marks: int) -> NDArray[np.uint8]:
    """A row for each mark, which stands in it."""
    return np.array([[[[mark] * 3] * 2] * 2 for mark in marks], np.uint8)


class Gated:
    """A runner of batches of four rows, each of which waits until it is let go."""

    def __init__(self, options: RunnerOptions) -> None:
        self.batches: list[list[int]] = []  # the marks of the rows in them
        self.statuses: list[int] = []  # of the answers
        self.arrived = 0  # whole calls
        self.url = ""
        self._go = asyncio.Semaphore(0)

        batching: dict[str, Any] = {"batchable": True, "max_batch_size": 4, "max_latency_ms": 300_000}
        batching |= {"route": "/run/1", "input_spec": rows_of(2, 2, 3)}

        # BentoML registers its metrics once in a process.
        @bentoml.service(name="gated", metrics={"enabled": False}, **options.service)
        class Service:
            spans = options.spans
            facts: ClassVar = {"facebento.model": "a-model:1", "facebento.device": "cpu"}

            @bentoml.api(input_spec=NoInput)  # type: ignore[untyped-decorator]
            async def placement(_) -> dict[str, str]:  # noqa: N805
                return PLACEMENT

            @bentoml.api(**batching)  # type: ignore[untyped-decorator]
            async def run(_, rows: np.ndarray) -> np.ndarray:  # noqa: N805  self is the one around it
                self.batches.append(rows[:, 0, 0, 0].tolist())
                await asyncio.wait_for(self._go.acquire(), 20)
                return rows[:, 0, 0, :1].astype(np.float32)

        self.service = cast("Any", Service)
        self._app = self.service.to_asgi(is_main=False)

    async def __call__(self, scope: calls.Scope, receive: calls.Receive, send: calls.Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/run/1":
            await self._app(scope, receive, send)
            return

        async def heard() -> calls.Message:
            message = await receive()
            self.arrived += message["type"] == "http.request" and not message["more_body"]
            return message

        async def told(message: calls.Message) -> None:
            if message["type"] == "http.response.start":
                self.statuses.append(message["status"])
            await send(message)

        await self._app(scope, heard, told)

    def let_go(self, batches: int = 50) -> None:
        for _ in range(batches):
            self._go.release()

    async def post(self, **request: Any) -> int:
        connector = aiohttp.UnixConnector(self.url.removeprefix("file://"))
        session = aiohttp.ClientSession("http://runner", connector=connector)
        async with session, session.post("/run/1", **request) as response:
            await response.read()
            return response.status


@asynccontextmanager
async def running(options: RunnerOptions = OPTIONS) -> AsyncIterator[tuple[Gated, Call]]:
    """The runner, and a way to begin a call of it with rows of these marks."""
    gated = Gated(options)
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder, "runner.sock")
        gated.url = socket.as_uri()
        server = uvicorn.Server(uvicorn.Config(gated, uds=str(socket), log_config=None, lifespan="on"))
        serving = asyncio.create_task(server.serve())
        await until(lambda: server.started)
        client = RunnerClient("gated", "a-model:1", lambda: None)
        watch = asyncio.create_task(client.watch(gated.url))
        await until(lambda: client.present)
        try:
            yield gated, lambda *marks: asyncio.create_task(client.call("run", rows(*marks)))
        finally:
            gated.let_go()
            watch.cancel()
            server.should_exit = True
            await serving


@pytest.fixture(autouse=True)
def _one_batch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what comes later waits in the queue."""
    monkeypatch.setattr("runners.batching.BATCHES_AT_ONCE", 1)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(0.01)


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task


def test_queued_calls_whose_callers_have_gone_are_not_run(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with running() as (gated, call):
            first = call(1)
            await until(lambda: gated.batches == [[1]])
            gone = [call(mark) for mark in (2, 3, 4)]
            kept = call(5)
            await until(lambda: gated.arrived == 5)
            await cancel(*gone)
            await until(lambda: gated.statuses == [calls.DROPPED] * 3)
            gated.let_go()
            assert (await first).tolist() == [[1]]
            assert (await kept).tolist() == [[5]]
            assert gated.batches == [[1], [5]]

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert caplog.text == ""


def test_a_queue_of_which_nobody_waits_is_not_run_and_the_next_call_is() -> None:
    async def scenario() -> None:
        async with running() as (gated, call):
            first = call(1)
            await until(lambda: gated.batches == [[1]])
            gone = [call(mark) for mark in (2, 3)]
            await until(lambda: gated.arrived == 3)
            await cancel(*gone)
            await until(lambda: gated.statuses == [calls.DROPPED] * 2)
            gated.let_go()
            await first
            assert (await call(4)).tolist() == [[4]]
            assert gated.batches == [[1], [4]]

    asyncio.run(scenario())


def test_the_rest_of_a_call_that_is_split_over_batches_is_dropped_with_it() -> None:
    async def scenario() -> None:
        async with running() as (gated, call):
            split = call(*range(1, 11))
            await until(lambda: gated.batches == [[1, 2, 3, 4]])
            other = call(11)
            await until(lambda: gated.arrived == 2)
            await cancel(split)
            await until(lambda: gated.statuses == [calls.DROPPED])
            gated.let_go()
            assert (await other).tolist() == [[11]]
            assert gated.batches == [[1, 2, 3, 4], [11]]

    asyncio.run(scenario())


def test_a_call_that_is_split_over_batches_and_waited_for_is_answered_whole() -> None:
    async def scenario() -> None:
        async with running() as (gated, call):
            gated.let_go()
            assert (await call(*range(1, 11)))[:, 0].tolist() == list(range(1, 11))

    asyncio.run(scenario())


def test_two_batches_are_in_work_at_a_time_and_no_third(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runners.batching.BATCHES_AT_ONCE", 2)

    async def scenario() -> None:
        async with running() as (gated, call):
            begun = [call(1)]
            await until(lambda: gated.batches == [[1]])
            begun.append(call(2))
            await until(lambda: gated.batches == [[1], [2]])
            begun += [call(3), call(4)]
            await until(lambda: gated.arrived == 4)
            await asyncio.sleep(0)
            assert gated.batches == [[1], [2]]
            gated.let_go(1)
            await until(lambda: len(gated.batches) == 3)
            assert sorted(gated.batches[2]) == [3, 4]
            gated.let_go()
            assert [answer.tolist() for answer in await asyncio.gather(*begun)] == [[[1]], [[2]], [[3]], [[4]]]

    asyncio.run(scenario())


def test_a_caller_that_goes_in_the_middle_of_its_body_leaves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with running() as (gated, call):
            _, writer = await asyncio.open_unix_connection(gated.url.removeprefix("file://"))
            head = f"POST /run/1 HTTP/1.1\r\nhost: runner\r\ncontent-type: {ROWS}\r\ncontent-length: 1000\r\n\r\n"
            writer.write(head.encode() + b"half")
            await writer.drain()
            writer.close()
            await until(lambda: gated.statuses == [calls.DROPPED])
            gated.let_go()
            assert (await call(1)).tolist() == [[1]]

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert caplog.text == ""


def test_work_that_waits_for_a_deadline_is_dropped_also_where_its_connection_stays() -> None:
    """As where the machine of the caller is gone, and nobody closes the connection."""

    async def scenario() -> None:
        async with running(RunnerOptions(device="cpu", threads=1, max_batch=4, deadline_s=2)) as (gated, call):
            begin = partial(gated.post, data=rows(1).tobytes(), headers={"content-type": ROWS})
            first = asyncio.create_task(begin())
            await until(lambda: gated.batches == [[1]])
            assert set(await asyncio.gather(first, begin(), begin())) == {504}
            gated.let_go()
            assert (await call(3)).tolist() == [[3]]
            assert gated.batches == [[1], [3]]

    asyncio.run(scenario())


def test_a_runner_that_is_full_refuses_at_once_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MAX_CALLS", 3)

    async def scenario() -> None:
        async with running() as (gated, call):
            waiting = [call(mark) for mark in (1, 2, 3)]
            await until(lambda: gated.arrived == 3)
            with pytest.raises(RunnerUnavailableError, match="as many calls waiting as it holds"):
                await call(4)
            assert gated.statuses == [429]
            await cancel(waiting.pop())
            await until(lambda: gated.statuses == [429, calls.DROPPED])
            waiting.append(call(5))
            gated.let_go()
            assert [answer.tolist() for answer in await asyncio.gather(*waiting)] == [[[1]], [[2]], [[5]]]

    asyncio.run(scenario())


def test_the_bytes_that_wait_are_bounded_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MAX_BYTES", 1000)

    async def scenario() -> None:
        async with running() as (gated, call):
            # Larger than all there is room for: it is let in alone, or it could never be.
            large = call(*range(200))
            await until(lambda: gated.arrived == 1)
            with pytest.raises(RunnerUnavailableError, match="waiting"):
                await call(1)
            gated.let_go(50)
            assert len(await large) == 200
            # Its bytes count no more.
            small = [call(1), call(2)]
            await until(lambda: gated.arrived == 3)
            gated.let_go()
            assert [answer.tolist() for answer in await asyncio.gather(*small)] == [[[1]], [[2]]]

    asyncio.run(scenario())


WRONG = {
    "part of a row": rows(1).tobytes()[1:],
    "a row and more": rows(1).tobytes() + b"!",
    "no row": b"",
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_wrong_rows_of_one_caller_do_not_touch_its_neighbours(wrong: bytes) -> None:
    async def scenario() -> None:
        async with running() as (gated, call):
            first = call(1)
            await until(lambda: gated.batches == [[1]])
            neighbours = [call(2), call(3)]
            assert await gated.post(data=wrong, headers={"content-type": ROWS}) == 400
            gated.let_go()
            assert [answer.tolist() for answer in await asyncio.gather(first, *neighbours)] == [[[1]], [[2]], [[3]]]

    asyncio.run(scenario())


def test_what_is_no_call_is_refused() -> None:
    async def scenario() -> None:
        async with running() as (gated, call):
            pickled = {"content-type": "application/vnd.bentoml+pickle"}
            assert await gated.post(data=b"garbage", headers=pickled) == 400
            assert await gated.post(data=b"garbage", headers=pickled | {"buffer-lengths": "3,4"}) == 400
            assert await gated.post(json={"rows": rows(1).tolist()}) == 400
            # BentoML's own way to read this one fetches the URL.
            assert await gated.post(data={"rows": "http://127.0.0.1:1/"}) == 400

            async def chunks() -> AsyncIterator[bytes]:
                yield b"of no told length"

            assert await gated.post(data=chunks(), headers={"content-type": ROWS}) == 411
            gated.let_go()
            assert (await call(1)).tolist() == [[1]]

    asyncio.run(scenario())
