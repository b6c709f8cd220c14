"""The calls that wait for a runner: bounded, and dropped as soon as nobody waits for their answer."""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from collections.abc import Set as AbstractSet
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Far above what one API process lets in, so that only several of them can reach it: with 128 requests in work, of which
# each calls the detector twice at a time, 256 calls and 315 MB of canvases.
MAX_CALLS = 1024
MAX_BYTES = 2 * 1024**3  # of rows: half the memory that the chart gives a runner

DROPPED = 499  # nginx's number for a client that has gone: nobody reads it, and BentoML's metrics count it


class Calls:
    """ASGI middleware around a runner. For Service.add_asgi_middleware, which puts it inside BentoML's own timeout.

    routes: the paths of the methods that batch. All else that a runner is asked goes straight through.

    Refused, before their body is read: with 411 a call that does not tell its size, with 429 one that finds more
    waiting than the runner holds. A call whose caller closes the connection is cancelled; the caller does so at its
    deadline, and when its own client has gone.
    """

    def __init__(self, app: App, *, routes: AbstractSet[str]) -> None:
        self._app = app
        self._routes = routes
        self._calls = 0
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in self._routes:
            await self._app(scope, receive, send)
            return
        size = next((int(value) for name, value in scope["headers"] if name == b"content-length"), None)
        if size is None:
            await _answer(send, 411, "Tell the size of the body in Content-Length.")
            return
        # One that finds nothing before it is let in, whatever its size.
        if self._calls and (self._calls >= MAX_CALLS or self._bytes + size > MAX_BYTES):
            await _answer(send, 429, "As many calls wait for this runner as it holds. Try again in a second.")
            return
        self._calls += 1
        self._bytes += size
        try:
            await self._attended(scope, receive, send)
        finally:
            self._calls -= 1
            self._bytes -= size

    async def _attended(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False
        watch: asyncio.Task[None] | None = None
        now = asyncio.get_running_loop().time

        async def until_gone() -> None:
            await receive()  # after the whole body there is nothing more to come but the end of the connection
            if not started:
                patience.reschedule(now())

        async def heard() -> Message:
            nonlocal watch
            message = await receive()
            if message["type"] == "http.disconnect":
                # In the middle of the body. What is told that reports a failure of its own.
                patience.reschedule(now())
                await asyncio.Event().wait()
            if watch is None and not message.get("more_body", False):
                watch = asyncio.create_task(until_gone())
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            async with asyncio.timeout(None) as patience:
                await self._app(scope, heard, noted)
        except TimeoutError:
            if started or not patience.expired():
                raise
            # BentoML's timeout around this waits for an answer, although nobody else does.
            await _answer(send, DROPPED, "")
        finally:
            if watch is not None:
                watch.cancel()


async def _answer(send: Send, status: int, error: str) -> None:
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
