"""Calls of a runner over its socket: by shared memory where both are on one host, and as bytes everywhere else."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import psutil
import pytest
import uvicorn
from bentoml.exceptions import BentoMLException
from numpy.typing import NDArray

from runners import remote, shared
from runners.calls import App, Message, Receive, Scope, Send
from runners.direct import Direct, Method
from runners.remote import RemoteRunner
from runners.shared import NotSharedError
from runners.wire import ROWS, SHARED_ROWS

ROW = (200, 100, 3)  # 60 kB: worth a place
MEBI = 2**20


class Runner:
    """Answers to each row its sum and its first byte."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []  # media type and length of each call's body
        self.statuses: list[int] = []
        self.go: asyncio.Event | None = None
        self.server: uvicorn.Server | None = None
        self._direct = Direct(self._none, methods={"/sum/1": Method(ROW, self._infer)})

    def cut(self) -> None:
        """End all connections, as its death does."""
        assert self.server is not None
        for connection in self.server.server_state.connections:
            connection.transport.abort()

    async def _none(self, _: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def _infer(self, rows: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self.go is not None:
            await self.go.wait()
        return expected(rows)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = next((value.decode() for name, value in scope["headers"] if name == b"content-type"), "")
        length = int(next((value for name, value in scope["headers"] if name == b"content-length"), b"-1"))
        self.sent.append((kind, length))

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.statuses.append(message["status"])
            await send(message)

        await self._direct(scope, receive, told)


def expected(rows: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.stack([rows.sum(axis=(1, 2, 3), dtype=np.float32), rows[:, 0, 0, 0].astype(np.float32)], axis=1)


def rows(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, *ROW), np.uint8)


@asynccontextmanager
async def serving(app: App, listening: socket.socket) -> AsyncIterator[None]:
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    if isinstance(app, Runner):
        app.server = server
    task = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started:  # noqa: ASYNC110  there is no event to wait for
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def called(runner: Runner, path: Path | None) -> AsyncIterator[RemoteRunner]:
    """path: of its Unix socket; on TCP where None."""
    with socket.socket(socket.AF_UNIX if path else socket.AF_INET) as listening:
        listening.bind(str(path) if path else ("127.0.0.1", 0))
        listening.listen()
        url = path.as_uri() if path else f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with serving(runner, listening), RemoteRunner(url, "1", {}) as remote_:
            yield remote_


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "r"


async def check(caller: RemoteRunner, *, count: int = 1, seed: int = 0) -> None:
    sent = rows(count, seed)
    assert np.array_equal(await caller.call("sum", sent), expected(sent))


def test_answers_are_equal_through_shared_memory_and_as_bytes(path: Path) -> None:
    async def scenario() -> None:
        runner = Runner()
        async with called(runner, path) as caller:
            for count in (1, 2, 40):
                await check(caller, count=count)
            assert {kind for kind, _ in runner.sent} == {SHARED_ROWS}
            assert max(length for _, length in runner.sent) < 100
        runner.sent.clear()
        async with called(runner, None) as caller:
            for count in (1, 2, 40):
                await check(caller, count=count)
            assert runner.sent == [(ROWS, count * 60_000) for count in (1, 2, 40)]

    asyncio.run(scenario())


def test_small_rows_are_sent(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SMALL_BYTES", MEBI)

    async def scenario() -> None:
        runner = Runner()
        async with called(runner, path) as caller:
            await check(caller)
        assert runner.sent == [(ROWS, 60_000)]

    asyncio.run(scenario())


def test_rows_that_find_no_room_are_sent_and_places_come_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared.Arena.__init__, "__defaults__", (4 * 65_536,))

    async def scenario() -> None:
        runner = Runner()
        runner.go = asyncio.Event()
        async with called(runner, path) as caller:
            calls = [asyncio.create_task(check(caller, seed=seed)) for seed in range(7)]
            while len(runner.sent) < 7:  # noqa: ASYNC110  there is no event to wait for
                await asyncio.sleep(0.01)
            assert sorted(kind for kind, _ in runner.sent) == [ROWS] * 3 + [SHARED_ROWS] * 4
            runner.go.set()
            await asyncio.gather(*calls)
            runner.sent.clear()
            await asyncio.gather(*(check(caller, seed=seed) for seed in range(4)))
            assert {kind for kind, _ in runner.sent} == {SHARED_ROWS}

    asyncio.run(scenario())


def test_a_place_comes_back_when_its_call_is_cancelled_or_its_runner_is_gone(path: Path) -> None:
    async def scenario() -> None:
        runner = Runner()
        runner.go = asyncio.Event()
        async with called(runner, path) as caller:
            assert caller._arena is not None
            free = list(caller._arena._free)
            call = asyncio.create_task(check(caller))
            while not runner.sent:  # noqa: ASYNC110  there is no event to wait for
                await asyncio.sleep(0.01)
            assert caller._arena._free != free
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert caller._arena._free == free
            call = asyncio.create_task(check(caller))
            while len(runner.sent) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            runner.cut()
            with pytest.raises(aiohttp.ServerDisconnectedError):
                await call
            assert caller._arena._free == free
            runner.go.set()

    asyncio.run(scenario())


def test_an_answer_is_not_touched_by_rows_that_take_the_place_of_a_cancelled_call(path: Path) -> None:
    """The runner still has the cancelled one in a batch, and reads the next one's rows for it."""

    async def scenario() -> None:
        runner = Runner()
        runner.go = asyncio.Event()
        async with called(runner, path) as caller:
            gone = asyncio.create_task(check(caller, seed=1))
            while not runner.sent:  # noqa: ASYNC110  there is no event to wait for
                await asyncio.sleep(0.01)
            gone.cancel()
            calls = [asyncio.create_task(check(caller, seed=seed)) for seed in (2, 3)]
            while len(runner.sent) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            runner.go.set()
            await asyncio.gather(*calls)

    asyncio.run(scenario())


def test_a_runner_that_can_not_read_shared_memory_is_sent_the_rows(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise NotSharedError("not seen")

    monkeypatch.setattr(shared, "_open", refuse)

    async def scenario() -> None:
        runner = Runner()
        before = psutil.Process().num_fds()
        async with called(runner, path) as caller:
            await asyncio.gather(*(check(caller, seed=seed) for seed in range(5)))
            runner.sent.clear()
            await asyncio.gather(*(check(caller, seed=seed) for seed in range(5)))
            assert {kind for kind, _ in runner.sent} == {ROWS}
            # The one that takes its place is tried again.
            monkeypatch.undo()
            caller.share()
            runner.sent.clear()
            await check(caller)
            assert {kind for kind, _ in runner.sent} == {SHARED_ROWS}
        # The runner's: the memory, and its caller's life.
        assert psutil.Process().num_fds() - before <= 2

    asyncio.run(scenario())
    assert caplog.text.count("can't read shared memory: ") == 1


def test_a_descriptor_that_comes_over_tcp_is_refused(path: Path) -> None:
    async def scenario() -> None:
        runner = Runner()
        arena = shared.Arena()
        place = arena.put(rows(1))
        assert place is not None
        async with called(runner, None) as caller:
            told = await caller._post("sum", SHARED_ROWS, place.descriptor)
            assert told.status == 415
            assert b"Unix socket" in told.body
        async with called(runner, path) as caller:
            assert (await caller._post("sum", SHARED_ROWS, place.descriptor)).status == 200
            assert (await caller._post("sum", SHARED_ROWS, place.descriptor[:-1])).status == 415
        arena.close()

    asyncio.run(scenario())


def test_two_callers_share_memory_with_one_runner(path: Path) -> None:
    async def scenario() -> None:
        runner = Runner()
        async with called(runner, path) as first, RemoteRunner(path.as_uri(), "1", {}) as second:
            await asyncio.gather(*(check(each, seed=seed) for seed in range(10) for each in (first, second)))
            assert {kind for kind, _ in runner.sent} == {SHARED_ROWS}
            assert len(runner._direct._arenas) == 2

    asyncio.run(scenario())


def test_another_model_and_another_method_of_http_are_refused(path: Path) -> None:
    async def scenario() -> None:
        runner = Runner()
        async with called(runner, path) as caller, caller._calls.get(f"{caller._url}/sum/1") as response:
            assert response.status == 405
            caller._version = "2"
            with pytest.raises(BentoMLException) as told:
                await check(caller)
            assert told.value.error_code == 404

    asyncio.run(scenario())


def test_a_failure_of_the_runner_is_an_error_that_tells_nothing_of_the_rows(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError("what it was given")

    monkeypatch.setattr(Runner, "_infer", fail)

    async def scenario() -> None:
        async with called(Runner(), path) as caller:
            with pytest.raises(BentoMLException, match="See its log") as told:
                await check(caller)
            assert told.value.error_code == 500
            assert "given" not in str(told.value)

    asyncio.run(scenario())
