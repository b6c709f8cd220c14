"""What a connection may do, on a listening socket, with limits that are short enough to wait for."""

import asyncio
import json
import logging
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn.config
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from api import connections
from api.connections import Connection
from api.transport import PoliteTransport

GET = b"GET /open HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /read HTTP/1.1\r\nHost: x\r\n"
REFUSED = b"POST /refused HTTP/1.1\r\nHost: x\r\n"


@dataclass
class App:
    """Answers /open, /refused and /kept without a look at the body, /read with its length, /slow when it is let."""

    scopes: list[Scope] = field(default_factory=list)
    left: int = 0  # requests whose client was gone before its body was complete
    running: int = 0
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        self.running += 1
        try:
            await self.answer(scope, receive, send)
        finally:
            self.running -= 1

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", scope["path"] == "/read"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left += 1
                return
            body, more = body + message["body"], message["more_body"]
        if scope["path"] == "/slow":
            await self.go_on.wait()
        text = b"x" * 4_000_000 if scope["path"] == "/large" else b"%d" % len(body)
        start = {"type": "http.response.start", "status": 401 if scope["path"] == "/refused" else 200}
        kept = [(b"cache-control", b"no-cache")] if scope["path"] == "/kept" else []
        await send({**start, "headers": [(b"content-length", b"%d" % len(text)), *kept]})
        await send({"type": "http.response.body", "body": text})


@dataclass
class Listening:
    port: int
    app: App
    state: ServerState

    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        return reader, writer

    async def ask(self, *pieces: bytes) -> bytes:
        """All that comes back until the server ends the connection. Pieces are sent once those before have arrived."""
        reader, writer = await self.open()
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.002)  # the server is in the same loop, and has its turn
        return await reader.read()


@asynccontextmanager
async def listening() -> AsyncIterator[Listening]:
    app, state, loop = App(), ServerState(), asyncio.get_running_loop()
    config = uvicorn.Config(app, http=Connection, lifespan="off", log_config=None, timeout_keep_alive=1)
    config.load()
    server = await loop.create_server(lambda: Connection(config, state, {}, loop), "127.0.0.1", 0)
    service = Listening(server.sockets[0].getsockname()[1], app, state)
    try:
        yield service
    finally:
        server.close()
        for writer in service.writers:
            writer.close()
        for connection in [*state.connections]:
            connection.transport.abort()
        app.go_on.set()
        await asyncio.gather(*state.tasks)
        await until(lambda: not state.connections)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110  many of these are nobody's event
            await asyncio.sleep(0.01)


def run(test: Callable[[Listening], Awaitable[None]]) -> None:
    async def timed() -> None:
        async with asyncio.timeout(60), listening() as service:
            await test(service)

    with asyncio.Runner(
        loop_factory=uvicorn.Config("", log_config=None).get_loop_factory()
    ) as runner:  # uvloop, as in the service
        runner.run(timed())


def asked(*pieces: bytes) -> bytes:
    answers: list[bytes] = []

    async def test(service: Listening) -> None:
        answers.append(await service.ask(*pieces))

    run(test)
    return answers[0]


def refusal(answer: bytes) -> int:
    """The status of an answer that must be the only one, and in JSON."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert {b"content-type: application/json", b"connection: close", b"cache-control: no-store"} <= set(lines)
    assert lines.count(b"content-length: %d" % len(body)) == 1
    assert set(json.loads(body)) == {"detail"}
    return int(lines[0].split()[1])


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "head_s", 0.15)
    monkeypatch.setattr(PoliteTransport, "linger_s", 0.3)


@pytest.mark.usefixtures("hurried")
def test_a_connection_that_says_nothing_is_closed_without_a_word() -> None:
    assert asked() == b""


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("start", [b"G", b"GET / HTTP/1.1\r\nHost: ", b"\r\n", b"\r\n\r\n\r\n"])
def test_a_head_that_is_late_is_not_waited_for(start: bytes) -> None:
    assert refusal(asked(start)) == 408


@pytest.mark.usefixtures("hurried")
def test_a_head_that_never_ends_is_not_waited_for() -> None:
    async def test(service: Listening) -> None:
        reader, writer = await service.open()
        writer.write(b"GET / HTTP/1.1\r\n")
        answer = asyncio.create_task(reader.read())
        while not answer.done():
            writer.write(b"a")
            await asyncio.sleep(0.02)
        assert refusal(answer.result()) == 408

    run(test)


def test_the_time_of_a_head_is_that_of_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(service: Listening) -> None:
        reader, writer = await service.open()
        for _ in range(4):  # longer than one head may take
            for piece in (GET[:10], GET[10:]):
                writer.write(piece)
                await asyncio.sleep(0.1)
            assert (await reader.readuntil(b"\r\n\r\n0")).startswith(b"HTTP/1.1 200")
        writer.write(GET + GET[:10])
        answers = await reader.read()
        assert answers.startswith(b"HTTP/1.1 200")
        assert refusal(answers[answers.index(b"HTTP/1.1 408") :]) == 408

    monkeypatch.setattr(Connection, "head_s", 0.7)
    run(test)


@pytest.mark.usefixtures("hurried")
def test_a_head_that_began_during_an_answer_has_its_own_time() -> None:
    async def test(service: Listening) -> None:
        reader, writer = await service.open()
        writer.write(GET.replace(b"open", b"slow"))
        await until(lambda: service.app.running == 1)
        [connection] = service.state.connections
        assert isinstance(connection, Connection)
        connection.timeout_keep_alive = 0  # of an idle connection, which this is not
        writer.write(GET[:10])
        await asyncio.sleep(0.02)
        service.app.go_on.set()
        answers = await reader.read()
        assert refusal(answers[answers.index(b"HTTP/1.1 408") :]) == 408

    run(test)


@pytest.mark.usefixtures("hurried")
def test_a_body_may_take_longer_than_a_head() -> None:
    async def test(service: Listening) -> None:
        reader, writer = await service.open()
        writer.write(POST + b"Connection: close\r\nContent-Length: 2\r\n\r\n1")
        await asyncio.sleep(0.3)
        writer.write(b"2")
        assert (await reader.read()).endswith(b"\r\n\r\n2")

    run(test)


MEBI = 1024 * 1024


@pytest.mark.parametrize(
    "start",
    [
        b"GET /" + b"a" * MEBI,
        b"GET / HTTP/1.1\r\nA: " + b"a" * MEBI,
        b"GET / HTTP/1.1\r\n" + b"a" * MEBI,
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 100_000,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 100 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 65_536 + b"\r\n\r\n",
        b"GET /" + b"a" * 65_536 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\r\n" * MEBI,
        POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 100,
        POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: " + b"a" * MEBI,
        POST + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"a" * MEBI,
    ],
    ids=lambda start: repr(start[-20:]),
)
def test_a_head_has_a_size(start: bytes) -> None:
    # In pieces, since what is longer than the socket's buffers is not there at once.
    pieces = [start[at : at + 65_536] for at in range(0, len(start), 65_536)]
    assert refusal(asked(*pieces)) == 431


def test_heads_of_that_size_are_read() -> None:
    lines = b"".join(b"A: %b\r\n" % (b"a" * 600) for _ in range(98))
    assert asked(GET[:-2] + lines + b"Connection: close\r\n\r\n").startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS hello
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /open\r\n\r\n",
        b"GET /open HTTP/1.2\r\nHost: x\r\n\r\n",
        b"GET open HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://[::1/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT /open HTTP/1.1\r\nHost: x\r\n\r\n",
        b"BREW /open HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /open HTTP/1.1\r\n\r\n",
        b"GET /open HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET /open HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
        b"GET /open HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n",
        b"GET /open HTTP/1.1\r\nHost: x\r\nA\x00: b\r\n\r\n",
        b"GET /open HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
        b"GET /open HTTP/1.1\nHost: x\n\n",
        POST + b"Content-Length: abc\r\n\r\n",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
        POST + b"Content-Length : 2\r\n\r\n{}",
        POST + b"Content-Length: 2\r\nContent-Length: 4\r\n\r\n{}xx",
        POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}zz\r\n0\r\n\r\n",
        b"POST /read HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_not_http_is_answered_all_the_same(request_: bytes, caplog: pytest.LogCaptureFixture) -> None:
    assert refusal(asked(request_)) == 400
    assert not [record for record in caplog.records if record.levelno > logging.INFO and record.name != "asyncio"]


def test_a_body_that_breaks_off_into_nonsense_ends_its_request() -> None:
    async def test(service: Listening) -> None:
        assert refusal(await service.ask(POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", b"nonsense")) == 400
        await until(lambda: service.app.left == 1)
        assert service.state.connections  # what it had in work ends before its connection

    run(test)


def test_what_came_before_nonsense_is_answered() -> None:
    async def test(service: Listening) -> None:
        reader, writer = await service.open()
        writer.write(GET.replace(b"open", b"slow"))
        await until(lambda: service.app.running == 1)
        writer.write(GET + b"nonsense\r\n\r\n" + GET)
        await asyncio.sleep(0.05)
        service.app.go_on.set()
        answers = await reader.read()
        assert answers.count(b"HTTP/1.1") == answers.count(b"HTTP/1.1 200") == 1
        assert len(service.app.scopes) == 1

    run(test)


def test_fields_behind_a_body_are_no_headers() -> None:
    async def test(service: Listening) -> None:
        body = b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-api-key: smuggled\r\n\r\n"
        assert (await service.ask(POST + body)).endswith(b"\r\n\r\n1")
        assert b"x-api-key" not in dict(service.app.scopes[0]["headers"])

    run(test)


@pytest.mark.parametrize("wish", [b"websocket", b"h2c"])
@pytest.mark.parametrize("apart", [True, False])
def test_a_wish_for_another_protocol_is_not_heard(wish: bytes, apart: bool) -> None:
    async def test(service: Listening) -> None:
        inner = GET.replace(b"open", b"smuggled")
        head = POST + b"Connection: Upgrade\r\nUpgrade: %b\r\nContent-Length: %d\r\n\r\n" % (wish, len(inner))
        last = GET[:-2] + b"Connection: close\r\n\r\n"
        answers = await service.ask(*([head, inner, last] if apart else [head + inner + last]))
        assert answers.count(b"HTTP/1.1 200") == 2
        assert b"\r\n\r\n%d" % len(inner) in answers
        assert [scope["path"] for scope in service.app.scopes] == ["/read", "/open"]
        assert service.app.scopes[0]["type"] == "http"

    run(test)


def test_the_answer_is_seen_though_nobody_read_the_body() -> None:
    async def test(service: Listening) -> None:
        reader, writer = await service.open()
        writer.write(REFUSED + b"Content-Length: %d\r\n\r\n" % (100 * MEBI))
        for _ in range(100):
            writer.write(bytes(MEBI))
            await writer.drain()
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 401")
        assert b"connection: close" in answer
        assert answer.count(b"HTTP/1.1") == 1

    run(test)


async def sent_for_ever(service: Listening, head: bytes, piece: bytes, pause_s: float) -> bytes:
    """What came back to a client that goes on sending until it can't any more."""
    reader, writer = await service.open()
    writer.write(head)
    answer = await reader.readuntil(b"\r\n\r\n0")
    while True:
        try:
            writer.write(piece)
            await writer.drain()
        except ConnectionError:
            return answer
        await asyncio.sleep(pause_s)


@pytest.mark.parametrize("path", [b"open", b"refused"])
def test_a_body_that_nobody_reads_is_not_taken_for_ever(monkeypatch: pytest.MonkeyPatch, path: bytes) -> None:
    head = b"POST /%b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" % path

    async def fast(service: Listening) -> None:
        assert b"connection: close" in await sent_for_ever(service, head, bytes(65_536), 0)
        await until(lambda: not service.state.connections)

    async def slow(service: Listening) -> None:
        assert b"connection: close" in await sent_for_ever(service, head, b"a", 0.02)
        await until(lambda: not service.state.connections)

    monkeypatch.setattr(PoliteTransport, "linger_bytes", 4 * MEBI)
    monkeypatch.setattr(PoliteTransport, "linger_s", 60)
    run(fast)
    monkeypatch.setattr(PoliteTransport, "linger_s", 0.2)
    run(slow)


def test_a_request_behind_a_body_that_was_not_read_is_not_answered() -> None:
    async def test(service: Listening) -> None:
        reader, writer = await service.open()
        writer.write(REFUSED + b"Content-Length: 10\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n0")
        writer.write(b"0123456789" + GET)
        assert await reader.read() == b""
        assert len(service.app.scopes) == 1

    run(test)


def test_a_client_that_waits_for_100_continue_is_told_whether_to_go_on() -> None:
    expecting = b"Content-Length: 2\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n"
    assert asked(REFUSED + expecting).startswith(b"HTTP/1.1 401")
    assert asked(POST + expecting, b"{}").startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")


def test_few_requests_may_wait_behind_another() -> None:
    few = asked(GET * 20 + GET[:-2] + b"Connection: close\r\n\r\n")
    assert few.count(b"HTTP/1.1 200") == 21
    assert asked(GET * 10_000).count(b"HTTP/1.1") < 40


def test_a_client_that_does_not_read_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(service: Listening) -> None:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", service.port))
            client.sendall(GET.replace(b"open", b"large") * 5)
            await until(lambda: bool(service.app.scopes))
            await until(lambda: not service.app.running and not service.state.connections)

    monkeypatch.setattr(PoliteTransport, "write_s", 0.2)
    run(test)


def test_a_client_that_reads_slowly_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(service: Listening) -> None:
        reader, writer = await service.open()
        writer.write(GET[:-2].replace(b"open", b"large") + b"Connection: close\r\n\r\n")
        arrived = 0
        while piece := await reader.read(400_000):
            arrived += len(piece)
            await asyncio.sleep(0.06)
        assert arrived > 4_000_000

    monkeypatch.setattr(PoliteTransport, "write_s", 0.5)
    run(test)


def test_when_there_are_too_many_those_that_wait_longest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(service: Listening) -> None:
        slow = GET.replace(b"open", b"slow")
        busy, busy_writer = await service.open()
        busy_writer.write(slow)
        await until(lambda: service.app.running == 1)
        idle = []
        for _ in range(7):
            idle.append(await service.open())
            await asyncio.sleep(0.01)  # the clock that tells who has waited longest has milliseconds
        await until(lambda: len(service.state.connections) == 8)
        newest, newest_writer = await service.open()
        newest_writer.write(GET)
        assert (await newest.readuntil(b"\r\n\r\n0")).startswith(b"HTTP/1.1 200")
        assert await idle[0][0].read() == b""
        idle[1][1].write(GET)
        assert (await idle[1][0].readuntil(b"\r\n\r\n0")).startswith(b"HTTP/1.1 200")
        service.app.go_on.set()
        assert (await busy.readuntil(b"\r\n\r\n0")).startswith(b"HTTP/1.1 200")

    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 8)
    monkeypatch.setattr(Connection, "head_s", 60)
    run(test)


def test_those_who_do_not_read_their_answers_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(service: Listening) -> None:
        for _ in range(3):
            _, writer = await service.open()
            transport: Any = writer.transport
            transport.pause_reading()
            writer.write(GET.replace(b"open", b"large") * 5)
        held: Any = service.state.connections
        await until(lambda: sum(each.flow.write_paused for each in held) == 3)
        assert (await service.ask(GET)).startswith(b"HTTP/1.1 200")

    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    run(test)


def test_when_all_are_at_work_the_next_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(service: Listening) -> None:
        for _ in range(3):
            _, writer = await service.open()
            writer.write(GET.replace(b"open", b"slow"))
        await until(lambda: service.app.running == 3)
        answer = await service.ask()
        assert refusal(answer) == 503
        assert b"retry-after: 1" in answer

    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    run(test)


def test_a_server_that_stops_waits_for_answers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(service: Listening) -> None:
        reader, writer = await service.open()
        writer.write(GET.replace(b"open", b"slow"))
        await until(lambda: service.app.running == 1)
        await service.open()
        unread, unread_writer = await service.open()
        unread_writer.write(REFUSED + b"Content-Length: 10\r\n\r\n")
        await unread.readuntil(b"\r\n\r\n0")
        await until(lambda: len(service.state.connections) == 3)
        for connection in [*service.state.connections]:
            connection.shutdown()
        await until(lambda: len(service.state.connections) == 1)
        service.app.go_on.set()
        assert b"connection: close" in await reader.read()

    monkeypatch.setattr(PoliteTransport, "linger_s", 60)
    run(test)


def test_every_answer_says_that_it_is_not_to_be_kept() -> None:
    head = asked(GET[:-2] + b"Connection: close\r\n\r\n").partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert {b"cache-control: no-store", b"x-content-type-options: nosniff"} <= set(head)


def test_but_one_that_says_itself_how_long_it_is_kept() -> None:
    one = GET[:-2].replace(b"open", b"kept")
    head, _, after = asked(one + b"\r\n", GET[:-2] + b"Connection: close\r\n\r\n").partition(b"\r\n\r\n")
    assert [line for line in head.split(b"\r\n") if line.startswith(b"cache-control")] == [b"cache-control: no-cache"]
    assert b"x-content-type-options: nosniff" in head
    # And the next one is none of its business.
    assert b"cache-control: no-store" in after


@pytest.mark.parametrize(
    ("soft", "hard", "raised", "connections_"),
    [
        (1024, 524_288, 16_384, 4096),
        (1024, 4096, 4096, 1024),
        (65_536, 65_536, None, 4096),
        (1024, resource.RLIM_INFINITY, 16_384, 4096),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None, 4096),
    ],
)
def test_the_limit_follows_the_files_that_may_be_open(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, raised: int | None, connections_: int
) -> None:
    limits = {"now": (soft, hard)}

    def set_limit(_: int, limit: tuple[int, int]) -> None:
        limits["now"] = limit

    monkeypatch.setattr(resource, "getrlimit", lambda _: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", set_limit)
    monkeypatch.setitem(uvicorn.config.HTTP_PROTOCOLS, "auto", "the one of uvicorn")
    connections.install()
    assert limits["now"] == (raised or soft, hard)
    assert connections.max_connections() == connections_
    served: Any = uvicorn.Config("nothing", log_config=None)
    assert uvicorn.importer.import_from_string(uvicorn.config.HTTP_PROTOCOLS[served.http]) is Connection
