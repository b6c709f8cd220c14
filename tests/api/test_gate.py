"""The gate as pure ASGI: requests are made by hand, and no server is there."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.admission import Admission
from api.gate import PIECE_BYTES, Gate
from api.keys import read_keys

KEY = (b"x-api-key", b"secret")
CAP = 1000


@dataclass
class Exchange:
    """One request, and what came back."""

    headers: list[tuple[bytes, bytes]] = field(default_factory=lambda: [KEY])
    chunks: Iterable[bytes] = (b"{}",)
    pause_s: float = 0
    disconnects: bool = False  # before the end of the body
    gone: asyncio.Event = field(default_factory=asyncio.Event)  # set, when the client goes after the body
    method: str = "POST"
    path: str = "/v1/detect"
    query: bytes = b""
    read: int = 0  # messages that the other side has taken
    sent: list[Message] = field(default_factory=list)

    async def run(self, app: ASGIApp) -> "Exchange":
        messages = self._messages()

        async def receive() -> Message:
            self.read += 1
            await asyncio.sleep(self.pause_s)
            return await anext(messages)

        async def send(message: Message) -> None:
            self.sent.append(message)

        scope = {
            "type": "http",
            "method": self.method,
            "path": self.path,
            "query_string": self.query,
            "headers": self.headers,
        }
        await app(scope, receive, send)
        return self

    async def _messages(self) -> AsyncIterator[Message]:
        for chunk in self.chunks:
            yield {"type": "http.request", "body": chunk, "more_body": True}
        if not self.disconnects:
            yield {"type": "http.request", "body": b"", "more_body": False}
            await self.gone.wait()
        while True:
            yield {"type": "http.disconnect"}

    @property
    def status(self) -> int:
        starts = [message for message in self.sent if message["type"] == "http.response.start"]
        assert len(starts) == 1
        assert self.sent[0] is starts[0]
        assert not self.sent[-1].get("more_body", False)
        status: int = starts[0]["status"]
        return status

    @property
    def answered(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def body(self) -> Any:
        return json.loads(b"".join(message.get("body", b"") for message in self.sent))


async def answer(send: Send, status: int = 200, body: bytes = b'"done"') -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def read_all(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError
        body += message["body"]
        if not message["more_body"]:
            return bytes(body)


async def reading(_: Scope, receive: Receive, send: Send) -> None:
    await answer(send, body=json.dumps(len(await read_all(receive))).encode())


async def untouched(_: Scope, __: Receive, ___: Send) -> None:
    pytest.fail("the request went through")


def gate(
    app: ASGIApp = reading,
    *,
    places: int = 2,
    max_in_flight: int = 2,
    max_body_bytes: int = CAP,
    held_bytes: int = 5 * CAP,
    deadline_s: float = 30,
) -> Gate:
    keys = read_keys([("KEYS", ["secret", "other", "old expires=2020-01-31"])])
    admission = Admission(
        places=lambda: places,
        max_in_flight=max_in_flight,
        max_body_memory_bytes=held_bytes,
        patience_s=0.9 * deadline_s,
    )
    return Gate(
        app,
        guarded=lambda scope: scope["method"] == "POST",
        keys=lambda: keys,
        admission=admission,
        max_body_bytes=max_body_bytes,
        deadline_s=deadline_s,
    )


def through(guarded: Gate, exchange: Exchange) -> Exchange:
    return asyncio.run(exchange.run(guarded))


@pytest.mark.parametrize("key", [b"secret", b"other"])
def test_a_key_that_is_known_goes_through(key: bytes) -> None:
    done = through(gate(), Exchange([(b"x-api-key", key)], [b"12", b"345"]))
    assert (done.status, done.body) == (200, 5)


def test_a_missing_key_is_told_in_the_contracts_shape_before_the_body_is_read() -> None:
    for query in (b"", b"x-api-key=secret"):
        done = through(gate(untouched), Exchange([(b"authorization", b"secret")], query=query))
        assert done.status == 422
        assert done.body == {"detail": [{"loc": ["header", "x-api-key"], "msg": "Field required", "type": "missing"}]}
        assert done.read == 0


@pytest.mark.parametrize(
    "values",
    [
        [b""],
        [b" "],
        [b"wrong"],
        [b"Secret"],
        [b"secret "],
        [b"secret,other"],
        [b"x" * 10_000],
        [b"secret" + b"\0" * 10_000],
        ["sécret".encode()],
        [b"\xff\xfe\0"],
        [b"secret", b"secret"],
        [b"secret", b"wrong"],
        [b"wrong", b"secret"],
        [b"", b"secret"],
    ],
)
def test_a_wrong_key_is_a_401_before_the_body_is_read(values: list[bytes]) -> None:
    done = through(gate(untouched), Exchange([(b"x-api-key", value) for value in values]))
    assert done.status == 401
    assert list(done.body) == ["detail"]
    assert "ecret" not in str(done.body)
    assert done.answered["www-authenticate"].startswith("ApiKey")
    assert done.read == 0


def test_a_key_that_has_expired_is_a_401_that_says_so() -> None:
    done = through(gate(untouched), Exchange([(b"x-api-key", b"old")]))
    assert done.status == 401
    assert "has expired" in done.body["detail"]
    assert done.read == 0


@pytest.mark.parametrize("length", [CAP + 1, 100 * 1024 * 1024, 10**30])
def test_a_body_that_declares_too_much_is_refused_unread(length: int) -> None:
    done = through(gate(untouched), Exchange([KEY, (b"content-length", str(length).encode())]))
    assert done.status == 413
    assert done.body == {"detail": f"The body is larger than the {CAP} bytes that this service takes."}
    assert done.read == 0


@pytest.mark.parametrize("declared", [[], [(b"content-length", b"10")], [(b"transfer-encoding", b"chunked")]])
def test_a_body_that_turns_out_too_large_is_refused_as_soon_as_it_is(declared: list[tuple[bytes, bytes]]) -> None:
    done = through(gate(untouched), Exchange([KEY, *declared], [b"x" * 100] * 10_000))
    assert done.status == 413
    assert done.read == 11


@pytest.mark.parametrize("size", [0, CAP - 1, CAP])
def test_a_body_up_to_the_cap_is_read(size: int) -> None:
    done = through(gate(), Exchange([KEY, (b"content-length", str(size).encode())], [b"x" * size]))
    assert (done.status, done.body) == (200, size)


def test_a_body_in_one_piece_beyond_the_cap_is_refused() -> None:
    assert through(gate(untouched), Exchange(chunks=[b"x" * (CAP + 1)])).status == 413


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
def test_the_app_is_given_all_of_a_large_body(size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    seen: list[Message] = []

    async def keeping(_: Scope, receive: Receive, send: Send) -> None:
        while not seen or seen[-1]["more_body"]:
            seen.append(await receive())
        await answer(send)

    guarded = gate(keeping, max_body_bytes=size, held_bytes=size)
    assert through(guarded, Exchange(chunks=[body[:100], body[100:]])).status == 200
    assert b"".join(message["body"] for message in seen) == body
    assert max(len(message["body"]) for message in seen) <= PIECE_BYTES


def test_the_app_is_given_a_small_body_in_one_piece_and_after_it_that_the_client_has_gone() -> None:
    seen: list[Message] = []

    exchange = Exchange(chunks=[b"12", b"", b"345"])

    async def twice(_: Scope, receive: Receive, send: Send) -> None:
        seen.append(await receive())
        await answer(send)
        exchange.gone.set()
        seen.append(await receive())

    assert through(gate(twice), exchange).status == 200
    assert seen == [
        {"type": "http.request", "body": b"12345", "more_body": False},
        {"type": "http.disconnect"},
    ]


def test_bodies_that_are_too_large_together_are_refused_until_others_are_done() -> None:
    async def scenario() -> None:
        app = Waiting(answer)
        guarded = gate(app, places=9, max_in_flight=9, held_bytes=2 * CAP)
        held = [asyncio.create_task(Exchange(chunks=[b"x" * CAP]).run(guarded)) for _ in range(2)]
        await app.reached(2)
        refused = await Exchange(chunks=[b"x"]).run(guarded)
        assert (refused.status, refused.answered["retry-after"]) == (429, "1")
        app.release.set()
        assert {(await each).status for each in held} == {200}
        assert (await Exchange(chunks=[b"x" * CAP]).run(guarded)).status == 200

    asyncio.run(scenario())


@pytest.mark.parametrize("encoding", [b"gzip", b"br", b"GZIP", b"identity, gzip", b"deflate"])
def test_a_compressed_body_is_refused_unread(encoding: bytes) -> None:
    done = through(gate(untouched), Exchange([KEY, (b"content-encoding", encoding)]))
    assert done.status == 422
    [detail] = done.body["detail"]
    assert detail["loc"] == ["header", "content-encoding"]
    assert detail["type"] == "content_encoding_unsupported"
    assert done.read == 0


@pytest.mark.parametrize("encoding", [b"", b"identity", b" Identity "])
def test_a_body_that_says_it_is_not_compressed_is_read(encoding: bytes) -> None:
    assert through(gate(), Exchange([KEY, (b"content-encoding", encoding)])).status == 200


def test_one_byte_a_second_ends_at_the_deadline() -> None:
    done = through(gate(deadline_s=0.1), Exchange(chunks=[b"x"] * 900, pause_s=0.02))
    assert done.status == 504
    assert list(done.body) == ["detail"]
    assert "0.1 seconds" in done.body["detail"]
    assert done.read < 10


def test_work_that_takes_too_long_ends_at_the_deadline_and_is_cancelled() -> None:
    cancelled = []

    async def slow(_: Scope, receive: Receive, __: Send) -> None:
        await read_all(receive)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    guarded = gate(slow, deadline_s=0.05, max_in_flight=1)
    assert through(guarded, Exchange()).status == 504
    assert cancelled
    assert through(guarded, Exchange()).status == 504


def test_a_deadline_behind_a_started_answer_gets_no_second_one() -> None:
    async def stuck(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(60)

    exchange = Exchange()
    with pytest.raises(TimeoutError):
        through(gate(stuck, deadline_s=0.05), exchange)
    assert [message["type"] for message in exchange.sent] == ["http.response.start"]


def test_a_timeout_of_the_apps_own_is_not_the_deadline() -> None:
    async def failing(_: Scope, __: Receive, ___: Send) -> None:
        raise TimeoutError

    exchange = Exchange()
    with pytest.raises(TimeoutError):
        through(gate(failing), exchange)
    assert exchange.sent == []


class Waiting:
    """An app that holds its requests until it is told to end them."""

    def __init__(self, end: Callable[[Send], Awaitable[None]]) -> None:
        self.release = asyncio.Event()
        self.cancelled = 0
        self._end = end
        self._inside = asyncio.Semaphore(0)

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        await read_all(receive)
        self._inside.release()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        await self._end(send)

    async def reached(self, count: int) -> None:
        """Wait until as many more requests are inside."""
        for _ in range(count):
            await self._inside.acquire()


async def failing_end(_: Send) -> None:
    raise RuntimeError("broken")


@pytest.mark.parametrize("end", [answer, failing_end])
def test_the_one_too_many_is_refused_unread_and_a_place_comes_free(end: Callable[[Send], Awaitable[None]]) -> None:
    async def scenario() -> None:
        app = Waiting(end)
        guarded = gate(app, max_in_flight=2)
        held = [asyncio.create_task(Exchange().run(guarded)) for _ in range(2)]
        await app.reached(2)
        refused = await Exchange().run(guarded)
        assert refused.status == 429
        assert list(refused.body) == ["detail"]
        assert int(refused.answered["retry-after"]) >= 1
        assert refused.read == 0
        # Whoever may not come in at all is told this first, and what needs no guard is still answered.
        assert (await Exchange([(b"x-api-key", b"wrong")]).run(guarded)).status == 401
        app.release.set()
        results = await asyncio.gather(*held, return_exceptions=True)
        assert all(isinstance(result, RuntimeError) is (end is failing_end) for result in results)
        again = [asyncio.create_task(Exchange().run(guarded)) for _ in range(2)]
        for result in await asyncio.gather(*again, return_exceptions=True):
            assert isinstance(result, RuntimeError) or (isinstance(result, Exchange) and result.status == 200)

    asyncio.run(scenario())


def test_a_cancelled_request_frees_its_place() -> None:
    async def scenario() -> None:
        app = Waiting(answer)
        guarded = gate(app, max_in_flight=1)
        held = asyncio.create_task(Exchange().run(guarded))
        await app.reached(1)
        assert (await Exchange().run(guarded)).status == 429
        held.cancel()
        with pytest.raises(asyncio.CancelledError):
            await held
        app.release.set()
        assert (await Exchange().run(guarded)).status == 200

    asyncio.run(scenario())


def test_a_client_that_goes_half_way_frees_its_place() -> None:
    guarded = gate(untouched, max_in_flight=1)
    for _ in range(3):
        # Nobody reads it. BentoML's timeout would wait for it.
        assert through(guarded, Exchange(chunks=[b"x"], disconnects=True)).status == 499


@pytest.mark.parametrize("places", [0, 1])
def test_work_for_a_client_that_has_gone_is_dropped(places: int) -> None:
    """Whether it is in work or waits for its place."""

    async def scenario() -> None:
        app = Waiting(answer)
        guarded = gate(app, places=places, max_in_flight=1, held_bytes=CAP)
        for _ in range(3):
            exchange = Exchange(chunks=[b"x" * CAP])
            request = asyncio.create_task(exchange.run(guarded))
            if places:
                await app.reached(1)
            else:
                # Two pieces of the body, and what comes after them.
                while exchange.read < 3:  # noqa: ASYNC110  there is no event to wait for
                    await asyncio.sleep(0)
            exchange.gone.set()
            await asyncio.wait_for(request, 5)
            assert exchange.status == 499
        assert app.cancelled == 3 * places

    asyncio.run(scenario())


def test_nothing_goes_on_behind_an_answer() -> None:
    async def scenario() -> None:
        await Exchange().run(gate())
        await Exchange(chunks=[b"x" * CAP, b"x"]).run(gate())
        for _ in range(3):  # what was cancelled comes to its end
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())


def test_refused_requests_take_no_place() -> None:
    guarded = gate(max_in_flight=1, held_bytes=CAP)
    for headers in ([], [(b"x-api-key", b"wrong")], [KEY, (b"content-length", b"100000")]):
        assert through(guarded, Exchange(list(headers))).status in {401, 413, 422}
    for _ in range(3):
        assert through(guarded, Exchange(chunks=[b"x" * CAP, b"x"])).status == 413
    assert through(guarded, Exchange()).status == 200


def test_a_request_waits_for_its_place_and_no_longer_than_the_deadline_allows() -> None:
    assert through(gate(untouched, places=0, deadline_s=0.1), Exchange()).status == 429


def test_unguarded_requests_pass_without_key_or_place() -> None:
    async def scenario() -> None:
        app = Waiting(answer)
        guarded = gate(app, max_in_flight=1)
        held = asyncio.create_task(Exchange().run(guarded))
        await app.reached(1)
        open_one = asyncio.create_task(Exchange([], [b"x" * 2 * CAP], method="GET").run(guarded))
        await app.reached(1)
        app.release.set()
        assert (await open_one).status == 200
        assert (await held).status == 200

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
def test_what_is_not_http_goes_straight_through(kind: str) -> None:
    seen: list[str] = []

    async def inner(scope: Scope, _: Receive, __: Send) -> None:
        seen.append(scope["type"])

    async def nothing() -> Message:
        return {}

    async def nowhere(_: Message) -> None:
        pass

    asyncio.run(gate(inner)({"type": kind}, nothing, nowhere))
    assert seen == [kind]
