"""What a request must pass before it is worked on: key, size, admission; and its one deadline."""

import asyncio
from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.admission import Admission, Seat
from api.errors import (
    ApiError,
    BodyTooLargeError,
    DeadlineExceededError,
    EncodingUnsupportedError,
    KeyExpiredError,
    KeyMissingError,
    KeyWrongError,
    respond,
)
from api.keys import Keys
from stages import stage

KEY_HEADER = "x-api-key"
PIECE_BYTES = 256 * 1024  # of a body that the app is given at a time: a form is parsed by pieces, and others go between
CLIENT_GONE = 499  # nginx's number: nobody reads it, but BentoML waits for an answer until its own timeout
ENDPOINT = "facebento.endpoint"  # in the ASGI scope: its path as a route's template (api/access.py)
ADMITTED = "facebento.key_name"  # in that of a request whose key is good: the key's name


class Gate:
    """ASGI middleware around the whole app.

    The key and the declared size are checked before a byte of the body is read; the body is read before the request
    takes a place, so that slow uploads hold up nobody. When the deadline passes or the client goes away, the app is
    cancelled, and with it what it awaits of the runners.

    admitted: told of each request whose key is good, before anything else is done for it.

    guarded: whether a request is one that needs all this; the others (the open GETs, and what the app answers with 404
    or 405 anyway) go straight through. keys: asked for each request, since the key file may change.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        guarded: Callable[[Scope], bool],
        keys: Callable[[], Keys],
        admission: Admission,
        max_body_bytes: int,
        deadline_s: float,
        admitted: Callable[[Scope], None] | None = None,
    ) -> None:
        self._app = app
        self._tell = admitted
        self._guarded = guarded
        self._keys = keys
        self._admission = admission
        self._max_body_bytes = max_body_bytes
        self._deadline_s = deadline_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._guarded(scope):
            await self._app(scope, receive, send)
            return
        try:
            scope[ADMITTED] = self._check_key(scope["headers"])
            if self._tell is not None:
                self._tell(scope)
            self._check_body(scope["headers"])
            seat = self._admission.enter()
        except ApiError as error:
            await respond(error)(scope, receive, send)
            return
        with seat:
            await self._admitted(scope, receive, send, seat)

    def _check_key(self, headers: list[tuple[bytes, bytes]]) -> str:
        """Its name. Raises KeyMissingError, KeyWrongError, KeyExpiredError."""
        sent = [value for name, value in headers if name == KEY_HEADER.encode()]
        if not sent:
            missing = KeyMissingError("Field required")
            missing.field = KEY_HEADER
            raise missing
        key = self._keys().find(sent[0]) if len(sent) == 1 else None
        if key is None:
            raise KeyWrongError("The key in x-api-key is not one that this service knows.")
        if key.expired:
            raise KeyExpiredError("The key in x-api-key has expired. Ask whoever runs this service for a new one.")
        return key.name

    def _check_body(self, headers: list[tuple[bytes, bytes]]) -> None:
        """What is told of it. Raises EncodingUnsupportedError, BodyTooLargeError."""
        for name, value in headers:
            if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
                encoded = EncodingUnsupportedError("Compressed bodies are not read. Send it without Content-Encoding.")
                encoded.field = "content-encoding"
                raise encoded
            # A length that is no number never gets here: the server answers 400.
            if name == b"content-length" and int(value) > self._max_body_bytes:
                raise self._too_large()

    def _too_large(self) -> BodyTooLargeError:
        return BodyTooLargeError(f"The body is larger than the {self._max_body_bytes} bytes that this service takes.")

    async def _admitted(self, scope: Scope, receive: Receive, send: Send, seat: Seat) -> None:
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            client.answered = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        client = _Client(receive)
        try:
            async with asyncio.timeout(self._deadline_s) as deadline:
                try:
                    client.body = await self._read(receive, seat)
                    if client.body is None:
                        await Response(status_code=CLIENT_GONE)(scope, receive, send)
                        return
                    client.watch(deadline)
                    with stage("wait"):
                        await seat.work()
                except ApiError as error:
                    await respond(error)(scope, receive, send)
                    return
                await self._app(scope, client.replay, noted)
        except TimeoutError:
            if client.gone and not started:
                await Response(status_code=CLIENT_GONE)(scope, receive, send)
                return
            if started or not deadline.expired():
                raise
            late = DeadlineExceededError(
                f"There was no answer within {self._deadline_s:g} seconds. Try again later, or with a smaller image."
            )
            await respond(late)(scope, receive, send)
        finally:
            client.unwatch()

    async def _read(self, receive: Receive, seat: Seat) -> bytes | None:
        """The whole body; None where the client has gone. Raises BodyTooLargeError, TooManyRequestsError."""
        chunks: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunk = message.get("body", b"")
            if seat.body_bytes + len(chunk) > self._max_body_bytes:
                raise self._too_large()
            seat.hold(len(chunk))
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks)


class _Client:
    """The other side, once all of its body has come: all that can come now is that it goes away."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._watch: asyncio.Task[None] | None = None
        self.body: bytes | None = None
        self._given = 0
        self.answered = False
        self.gone = False  # before it was answered

    def watch(self, deadline: asyncio.Timeout) -> None:
        """Have the deadline pass at once when the client goes unanswered: nobody waits for the work any more."""

        async def wait() -> None:
            while (await self._receive())["type"] != "http.disconnect":
                pass
            if not self.answered and not deadline.expired():
                self.gone = True
                deadline.reschedule(asyncio.get_running_loop().time())

        self._watch = asyncio.create_task(wait())

    def unwatch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    async def replay(self) -> Message:
        """A `receive` that gives the body, and after it that the client has gone, once it has."""
        if self.body is not None:
            if self._given:
                await asyncio.sleep(0)
            piece = self.body[self._given : self._given + PIECE_BYTES]
            self._given += len(piece)
            more = self._given < len(self.body)
            if not more:
                self.body = None  # the app has its own by now: two would be one too many
            return {"type": "http.request", "body": piece, "more_body": more}
        if self._watch is not None:
            await asyncio.shield(self._watch)
        return {"type": "http.disconnect"}
