"""A request's id, its one line in the log, and a name for its path that no client chooses."""

import logging
import random
import re
import time
from asyncio import CancelledError
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import stages
from api import tracing
from api.errors import UNFORESEEN
from api.gate import ADMITTED, CLIENT_GONE, ENDPOINT
from api.metrics import Requests

log = logging.getLogger("facebento.access")

ID_HEADER = b"x-request-id"
UNKNOWN = "/unknown"  # stands for every path that is not served
QUIET = frozenset({"/v1/health"})  # asked for every few seconds: told at debug level only

_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
_PATH = "facebento.path"  # in the ASGI scope: the path as it came


class Endpoints:
    """The names of paths: a route's template, as /v1/info/model/{model_name}, or UNKNOWN."""

    def __init__(self, routes: Sequence[BaseRoute], others: Collection[str] = ()) -> None:
        """others: what is served besides, which has no parameters."""
        self._routes = [route for route in routes if hasattr(route, "path")]
        self._plain = frozenset(others) | {path for each in self._routes if "{" not in (path := _template(each))}

    def name(self, scope: Scope) -> str:
        path = scope["path"]
        if path in self._plain:  # nearly always: asking the routes takes longer
            return str(path)
        return next((_template(each) for each in self._routes if each.matches(scope)[0] is not Match.NONE), UNKNOWN)


def _template(route: BaseRoute) -> str:
    return str(getattr(route, "path", UNKNOWN))


class Entrance:
    """The outermost layer, around BentoML's own: gives a request its id, and its path a name.

    BentoML's metrics are labelled by the path: with the one that came, whoever asks for ten thousand paths makes ten
    thousand of each metric. So they are shown the name, and AccessLog puts the path back.
    """

    def __init__(self, app: ASGIApp, endpoints: Endpoints) -> None:
        self._app = app
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        work = stages.Work(_request_id(scope["headers"]))
        header = (ID_HEADER, work.request_id.encode())

        async def identified(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        endpoint = self._endpoints.name(scope)
        scope[_PATH], scope[ENDPOINT] = scope["path"], endpoint
        scope["path"] = endpoint
        token = stages.current.set(work)
        try:
            await self._app(scope, receive, identified)
        finally:
            stages.current.reset(token)


class AccessLog:
    """The layer around the gate: a line and a count for each request, those that the gate refuses too.

    What fails in an unforeseen way ends here, with its traceback in the line.
    """

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _PATH not in scope:  # no request, or not one that came by the entrance
            await self._app(scope, receive, send)
            return
        scope["path"] = scope[_PATH]
        exchange = _Exchange(receive, send)
        failure: Exception | None = None
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except CancelledError:
            exchange.status = exchange.status or 504  # BentoML's backstop, which answers it
            raise
        except Exception as error:  # noqa: BLE001  it is logged below, whatever it is
            failure = error
            if not exchange.status:
                await JSONResponse({"detail": UNFORESEEN}, 500)(scope, receive, exchange.send)
        finally:
            self._tell(scope, exchange, failure)
            exchange.end_span()

    def _tell(self, scope: Scope, exchange: "_Exchange", failure: Exception | None) -> None:
        work = stages.current.get()
        if work is None:
            return
        endpoint = scope[ENDPOINT]
        status = exchange.outcome
        key = scope.get(ADMITTED)
        duration_s = time.perf_counter() - work.began
        seconds = dict(exchange.stages(work))
        self._requests.count(
            endpoint=endpoint,
            status=status,
            key=key,
            duration_s=duration_s,
            work=work,
            seconds=seconds,
            bytes_in=exchange.bytes_in,
            bytes_out=exchange.bytes_out,
        )
        level = logging.ERROR if status == 500 else logging.DEBUG if endpoint in QUIET else logging.INFO
        if not log.isEnabledFor(level):
            return
        facts: dict[str, Any] = {
            "key": key,
            "method": scope["method"] if scope["method"] in _METHODS else "OTHER",
            "endpoint": endpoint,
            "status": status,
            "duration_ms": _ms(duration_s),
            "stages_ms": {name: _ms(spent) for name, spent in seconds.items()},
            "bytes_in": exchange.bytes_in,
            "bytes_out": exchange.bytes_out,
        }
        if work.faces is not None:
            facts["faces"] = work.faces
        if work.reason:
            facts["reason"] = work.reason
        log.log(level, "request", extra={"facts": facts}, exc_info=failure if status == 500 else None)


class _Exchange:
    """What goes to and fro between a client and the app."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._reading_s = 0.0
        self._read: tuple[float, float] | None = None  # when the body began to be read, and when its last piece came
        self._answered_at: float | None = None
        self._done = False
        self.status = 0
        self.gone = False  # the client, before there was an answer
        self.bytes_in = 0
        self.bytes_out = 0

    async def receive(self) -> Message:
        began = time.perf_counter()
        message = await self._receive()
        if message["type"] == "http.request":
            came = time.perf_counter()
            self._reading_s += came - began
            self._read = (self._read[0] if self._read else began, came)
            self.bytes_in += len(message.get("body", b""))
        elif not self.status:
            self.gone = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._answered_at = time.perf_counter()
        else:
            self.bytes_out += len(message.get("body", b""))
        await self._send(message)

    @property
    def outcome(self) -> int:
        """The status of the answer, or what stands for that there is none."""
        return CLIENT_GONE if self.gone else self.status or 500

    def end_span(self) -> None:
        """Of a request that is traced: with the stages that are known here only."""
        work = stages.current.get()
        if work is None or work.trace is None:
            return
        told = []
        if self._read and self.bytes_in:
            told.append(("receive", *self._read))
        if work.stage_ended and self._answered_at and self.status < 400:
            told.append(("encode", work.stage_ended, self._answered_at))
        tracing.end(work, told, self.outcome, bytes_in=self.bytes_in, bytes_out=self.bytes_out)

    def stages(self, work: stages.Work) -> Iterator[tuple[str, float]]:
        """Name and seconds of each stage that there was."""
        if self.bytes_in:
            yield "receive", self._reading_s
        yield from work.seconds.items()
        if work.stage_ended and self._answered_at and self.status < 400:
            yield "encode", self._answered_at - work.stage_ended


def _request_id(headers: Sequence[tuple[bytes, bytes]]) -> str:
    """The client's own, if it is one that can stand in a log; else a new one."""
    sent = [value for name, value in headers if name == ID_HEADER]
    if len(sent) == 1 and _ID.fullmatch(sent[0]):
        return sent[0].decode()
    return f"{random.getrandbits(128):032x}"  # no secret; the system's own cost ten times as much


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
