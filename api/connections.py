"""What a connection may do before, between and behind the requests that the gate sees.

uvicorn trusts whoever connects: it waits for a request's head without end and without a limit on its size, reads on
behind an answer, and never gives up one who doesn't read. Elsewhere a reverse proxy sees to that; this service holds
without one. install() puts Connection, which is uvicorn's own protocol with bounds, in its place.
"""

import heapq
import json
import logging
import resource
from asyncio import BaseTransport, TimerHandle, Transport
from http import HTTPStatus
from typing import Any, cast

import httptools
import uvicorn.config
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from api.transport import PoliteTransport

log = logging.getLogger("facebento.connections")

# Of one process. A connection may need a file for itself, one to a runner, and one for an upload too large for memory.
MAX_CONNECTIONS = 4096
FILES_PER_CONNECTION = 4

# What faces look like is nobody's to keep, where an answer says nothing else; and JSON is never to be taken for a page.
HEADERS = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]


def install() -> None:
    """Have uvicorn use it for the server that this process starts next, with as many files as that may need."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{Connection.__module__}:{Connection.__name__}"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_CONNECTIONS * FILES_PER_CONNECTION
    wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def max_connections() -> int:
    """How many this process may hold with the files that it may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, soft // FILES_PER_CONNECTION)


class Connection(HttpToolsProtocol):
    head_s = 10.0  # for the head of a request to come, from the connection or from the head's first byte on
    max_head_bytes = 64 * 1024
    max_header_lines = 100
    max_pipelined = 32

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.transport: PoliteTransport
        self._head_timer: TimerHandle | None = None
        self._running: RequestResponseCycle | None = None  # the request that is answered; self.cycle is the latest
        self._refusal = (HTTPStatus.BAD_REQUEST, "This is not HTTP/1.1, or not as its standard has it.")
        self.waits_since = 0.0  # the loop's time
        self._in_head = self._in_body = False
        self._deaf = False  # whatever comes is thrown away
        # Of the request that is read.
        self._header_lines = 0
        self._events = 0  # a request began or ended, or a piece of its body came
        self._eventless_bytes = 0  # have come since the last of them

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(PoliteTransport(cast("Transport", transport), self.loop, self._is_sent_to))
        self.waits_since = self.loop.time()
        self._head_timer = self.loop.call_later(self.head_s, self._head_is_late)
        if len(self.connections) > max_connections():
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deaf = True
        self._stop_head_timer()
        self.transport.lost()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        if self.transport.is_closing():
            self.transport.abort()
        else:
            super().shutdown()

    def _make_room(self) -> None:
        """Those that have waited longest have to go, an eighth of all at a time, so that looking for them costs little.

        A client that keeps a connection for its next request has to expect this at any time.
        """
        connections = [each for each in self.connections if isinstance(each, Connection)]
        waiting = [each for each in connections if not each.busy or each.flow.write_paused]
        waiting.remove(self)
        if not waiting:
            self._refuse(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "The service has as many connections as it can hold. Try again in a second, with growing pauses.",
                (b"retry-after", b"1"),
            )
            return
        longest = heapq.nsmallest(max(1, len(self.connections) // 8), waiting, key=lambda each: each.waits_since)
        for connection in longest:
            connection.transport.abort()
            self.connections.discard(connection)  # its end comes later, and more connections may come before
        log.warning("it can't hold more connections: the %d that waited longest were closed", len(longest))

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self._running is not None and not self._running.response_complete and not self._running.disconnected

    def _is_sent_to(self) -> bool:
        """Whether the client may be in the middle of sending."""
        return self._deaf or self._in_head or self._in_body

    def _refuse(self, status: HTTPStatus, detail: str, *headers: tuple[bytes, bytes]) -> None:
        """Answer in place of the app, and hear nothing more."""
        log.info("refused before it was a request: %d %s", status, detail)
        running, self._deaf = self._running, True
        if running is not None and not running.response_complete:
            if running is not self.cycle or running.response_started or not running.more_body:
                running.keep_alive = False  # what came before is answered, and no more
                self.pipeline.clear()
                return
            running.disconnected = True
            running.message_event.set()
        body = json.dumps({"detail": detail}).encode()
        fields = [
            *self.server_state.default_headers,
            *HEADERS,
            *headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        lines = b"".join(b"%b: %b\r\n" % field for field in fields)
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[status], lines, body))
        self.transport.close()

    # What comes.

    def data_received(self, data: bytes) -> None:
        if self._deaf or self.transport.is_closing():
            self.transport.throw_away(data)
            return
        self._unset_keepalive_if_required()
        events = self._events
        try:
            self._feed(data)
            self._eventless_bytes = self._eventless_bytes + len(data) if self._events == events else 0
            if self._eventless_bytes > self.max_head_bytes:
                self._head_is_large()
        except httptools.HttpParserError:
            self._refuse(*self._refusal)
            return
        if self._head_timer is None and not self._in_body and (self._in_head or self._events == events):
            self._head_timer = self.loop.call_later(self.head_s, self._head_is_late)

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # To WebSocket or HTTP/2, which is not spoken here. Such a request is to be taken as if it did not ask;
                # Java's client asks with every first one. But the parser takes what comes behind its head for
                # the other protocol, and a body for the next request: so it gets the head once more, without.
                wishes = [field for field in self.headers if field[0] != b"upgrade"]
                first = b"%b %b HTTP/%b\r\n" % (
                    self.scope["method"].encode(),
                    self.url,
                    self.parser.get_http_version().encode(),
                )
                data = first + b"".join(b"%b: %b\r\n" % field for field in wishes) + b"\r\n" + data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            else:
                return

    def _head_is_large(self) -> None:
        """To be called by the parser, too, which stops at any exception."""
        self._refusal = (
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"The request line and the headers may have {self.max_head_bytes} bytes and {self.max_header_lines} lines.",
        )
        raise httptools.HttpParserError

    def _wrong(self, detail: str) -> None:
        self._refusal = (HTTPStatus.BAD_REQUEST, detail)
        raise httptools.HttpParserError

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        if self.busy:
            self.cycle.keep_alive = False
        elif self._in_head or self._eventless_bytes:
            seconds = f"{self.head_s:g} seconds"
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"The request line and the headers did not come within {seconds}.")
        else:
            self.transport.close()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    # What the parser finds.

    def on_message_begin(self) -> None:
        self._events += 1
        self._in_head, self._in_body = True, False
        self._header_lines = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_lines += 1
        if self._header_lines > self.max_header_lines:
            self._head_is_large()
        # A field behind the body must not pass for one of the headers, which have been checked.
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head, self._in_body = False, True
        self._events += 1
        self._stop_head_timer()
        if self.parser.get_method() == b"CONNECT" or self.url == b"*":
            self._wrong("This service is no proxy: the request must be for a path.")
        self._check_headers()
        if len(self.pipeline) >= self.max_pipelined:
            self._wrong(f"More than {self.max_pipelined} requests wait for the answer to one before them.")
        if self.parser.should_upgrade():
            self.scope["method"] = self.parser.get_method().decode("ascii")
        else:
            super().on_headers_complete()

    def _check_headers(self) -> None:
        """What the parser lets pass, though a proxy before the service may understand it in another way."""
        version = self.parser.get_http_version()
        hosts, encoded = 0, False
        size = len(self.url)
        for name, value in self.headers:
            size += len(name) + len(value)
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding":
                encoded = True
                if value.lower() != b"chunked":
                    self._wrong("Of the transfer codings only chunked is read.")
        if size > self.max_head_bytes:
            self._head_is_large()
        if version not in ("1.0", "1.1") or (version == "1.0" and encoded):
            self._wrong("The service speaks HTTP/1.1, and HTTP/1.0 without transfer codings.")
        if hosts > 1 or (version == "1.1" and not hosts):
            self._wrong("There must be one Host header.")

    def on_body(self, body: bytes) -> None:
        self._events += 1
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._events += 1
        self._in_body = False
        if not self.parser.should_upgrade():
            super().on_message_complete()

    # What is answered.

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        async def closing(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
            async def sent(message: ASGISendEvent) -> None:
                if message["type"] == "http.response.start":
                    # Answered before its body was read: the client is told that the connection ends with this.
                    cycle.keep_alive = cycle.keep_alive and not cycle.more_body
                    told = dict(message.get("headers", ()))
                    cycle.default_headers = [field for field in cycle.default_headers if field[0] not in told]
                await send(message)

            await app(scope, receive, sent)

        self._running = cycle
        cycle.default_headers = [*cycle.default_headers, *HEADERS]
        super()._start_asgi_task(cycle, closing)

    def on_response_complete(self) -> None:
        self.waits_since = self.loop.time()
        super().on_response_complete()
        if self._head_timer is not None and not self.transport.is_closing():
            self._unset_keepalive_if_required()  # the next head is on its way, and its own time runs

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.writing_stopped()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.transport.writing_goes_on()
