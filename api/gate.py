"""What a request must pass before a byte of its body is read: key, size, admission, deadline."""

import asyncio
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import (
    ApiError,
    BodyTooLargeError,
    DeadlineExceededError,
    EncodingUnsupportedError,
    KeyMissingError,
    KeyWrongError,
    TooManyRequestsError,
    respond,
)
from api.keys import Keys

KEY_HEADER = "x-api-key"
ADMITTED = "facebento.key_name"  # in the ASGI scope of a request that has passed: the name of its key


class Gate:
    """ASGI middleware around the whole app.

    guarded: whether a request is one that needs all this; the others (the open GETs, and what the app answers with 404
    or 405 anyway) go straight through.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        guarded: Callable[[Scope], bool],
        keys: Keys,
        max_body_bytes: int,
        max_in_flight: int,
        deadline_s: float,
    ) -> None:
        self._app = app
        self._guarded = guarded
        self._keys = keys
        self._max_body_bytes = max_body_bytes
        self._max_in_flight = max_in_flight
        self._deadline_s = deadline_s
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._guarded(scope):
            await self._app(scope, receive, send)
            return
        try:
            scope[ADMITTED] = self._check_headers(scope)
            if self._in_flight >= self._max_in_flight:
                raise TooManyRequestsError(
                    "The service has as many requests in work as it admits. Try again in a second, with growing pauses."
                )
        except ApiError as error:
            await respond(error)(scope, receive, send)
            return
        self._in_flight += 1
        try:
            await self._admitted(scope, receive, send)
        finally:
            self._in_flight -= 1

    def _check_headers(self, scope: Scope) -> str:
        """The name of the key."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        sent = [value for name, value in headers if name == KEY_HEADER.encode()]
        if not sent:
            missing = KeyMissingError("Field required")
            missing.field = KEY_HEADER
            raise missing
        name_of_key = self._keys.name_of(sent[0]) if len(sent) == 1 else None
        if name_of_key is None:
            raise KeyWrongError("The key in x-api-key is not one that this service knows.")
        for name, value in headers:
            if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
                encoded = EncodingUnsupportedError("Compressed bodies are not read. Send it without Content-Encoding.")
                encoded.field = "content-encoding"
                raise encoded
            # A length that is no number never gets here: the server answers 400.
            if name == b"content-length" and int(value) > self._max_body_bytes:
                raise self._too_large()
        return name_of_key

    def _too_large(self) -> BodyTooLargeError:
        return BodyTooLargeError(f"The body is larger than the {self._max_body_bytes} bytes that this service takes.")

    async def _admitted(self, scope: Scope, receive: Receive, send: Send) -> None:
        arrived = 0
        started = refused = False

        async def counted() -> Message:
            nonlocal arrived, started, refused
            if refused:
                raise self._too_large()
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived <= self._max_body_bytes:
                return message
            if not started:
                # Answered from here: what the app makes of the exception is not up to the gate.
                started = refused = True
                await respond(self._too_large())(scope, receive, send)
            raise self._too_large()

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            if not refused:
                await send(message)

        try:
            async with asyncio.timeout(self._deadline_s) as deadline:
                await self._app(scope, counted, noted)
        except TimeoutError:
            if started or not deadline.expired():
                raise
            late = DeadlineExceededError(
                f"There was no answer within {self._deadline_s:g} seconds. Try again later, or with a smaller image."
            )
            await respond(late)(scope, receive, send)
