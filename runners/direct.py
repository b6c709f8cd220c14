"""The short way of a call: from its bytes to BentoML's dispatcher, and from there to the bytes of the answer."""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import numpy as np
from bentoml.exceptions import BentoMLException, InvalidArgument
from numpy.typing import NDArray

from runners.calls import App, Receive, Scope, Send
from runners.shared import Arenas, NotSharedError
from runners.wire import ANSWERS, ROWS, SHAPE, SHARED_ROWS, read_rows, write_answers

log = logging.getLogger("facebento.runners")

Rows = NDArray[np.uint8]
Answers = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Method:
    """One that takes batches of rows."""

    row: tuple[int, ...]  # the shape of one
    infer: Callable[[Rows], Awaitable[Answers]]  # by way of the dispatcher


class Direct:
    """ASGI middleware around a runner, innermost: answers the calls of the methods that batch.

    Router, request context, pydantic and the looking up of the method take BentoML a millisecond for each of them. Its
    metrics and timeout are around this, as they are around its own way.
    """

    def __init__(self, app: App, *, methods: Mapping[str, Method]) -> None:
        """methods: by route. All else goes on to BentoML."""
        self._app = app
        self._methods = methods
        self._arenas = Arenas()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = self._methods.get(scope["path"]) if scope["type"] == "http" else None
        if method is None:
            await self._app(scope, receive, send)
            return
        status, headers, body = await self._answer(method, scope, receive)
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(
        self, method: Method, scope: Scope, receive: Receive
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        if scope["method"] != "POST":
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED, "Only POST.")
        try:
            answers = await method.infer(await self._rows(method, scope, receive))
            body, shape = write_answers(answers)
        except BentoMLException as error:
            return _refusal(error.error_code, str(error))
        except NotSharedError as error:
            return _refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, str(error))
        except Exception:
            log.exception("a call of %s failed", scope["path"])
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "The runner failed. See its log.")
        return HTTPStatus.OK, [(b"content-type", ANSWERS.encode()), (SHAPE.encode(), shape.encode())], body

    async def _rows(self, method: Method, scope: Scope, receive: Receive) -> Rows:
        media_type = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
        body = bytearray()
        more = True
        while more:
            message: Any = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if media_type == ROWS.encode():
            return read_rows(body, method.row)
        if media_type == SHARED_ROWS.encode():
            if not on_unix_socket(scope):
                raise NotSharedError("Shared memory is only for callers on a Unix socket.")
            return self._arenas.rows(bytes(body), method.row)
        raise InvalidArgument(f"A call of a runner is of the type {ROWS}.")


def on_unix_socket(scope: Scope) -> bool:
    """Whether the connection is on one: for the server's own end, uvicorn tells a path and no port."""
    server = scope.get("server")
    return server is not None and server[1] is None


def _refusal(status: HTTPStatus, error: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    return status, [(b"content-type", b"application/json")], json.dumps({"error": error}).encode()
