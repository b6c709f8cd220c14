"""The span of a request, through the layers as service.py puts them; no server is there."""

import asyncio
import itertools
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind
from opentelemetry.trace.status import StatusCode
from prometheus_client import CollectorRegistry
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import stages
from api import logs
from api.access import AccessLog, Endpoints, Entrance
from api.admission import Admission
from api.gate import Gate
from api.keys import read_keys
from api.metrics import Requests
from api.tracing import RequestSpans
from tests.spans import CLIENT_SPAN, CLIENT_TRACE, TRACEPARENT, KeptSpans, own, parent, told

KEY = (b"x-api-key", b"secret")
PARENT = (b"traceparent", TRACEPARENT.encode())
REQUESTS = Requests(deadline_s=30, registry=CollectorRegistry())


async def answering(_: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    with stages.stage("decode"):
        stages.found(2, pixels=4)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


Request = Callable[..., Sequence[ReadableSpan]]


@pytest.fixture
def request_(caplog: pytest.LogCaptureFixture) -> Request:
    """Makes one request, and gives the spans that it made."""

    def make(app: ASGIApp = answering, *, path: str = "/v1/detect", headers: Any = (KEY, PARENT), **limits: Any) -> Any:
        kept = KeptSpans()
        keys = read_keys([("KEYS", ["bob=secret"])])
        admission: dict[str, Any] = {"places": lambda: 8, "max_in_flight": 8, "max_body_memory_bytes": 1000}
        gate = Gate(
            app,
            guarded=lambda scope: scope["path"] == "/v1/detect",
            keys=lambda: keys,
            admission=Admission(**admission | {"patience_s": 1}),
            **{"max_body_bytes": 100, "deadline_s": 30} | limits,
            admitted=RequestSpans(kept.spans).begin,
        )
        routes = [Route("/v1/detect", lambda _: None, methods=["POST"]), Route("/v1/health", lambda _: None)]
        site = Entrance(AccessLog(gate, REQUESTS), Endpoints(routes))
        waiting: list[Message] = [
            {"type": "http.request", "body": b"12", "more_body": True},
            {"type": "http.request", "body": b"3"},
        ]

        async def receive() -> Message:
            if not waiting:
                await asyncio.Event().wait()
            return waiting.pop(0)

        async def send(_: Message) -> None:
            pass

        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": b"needle",
            "headers": [*headers, (b"host", b"needle"), (b"user-agent", b"needle"), (b"baggage", b"needle=1")],
            "server": ("10.0.0.1", 3000),
            "client": ("10.9.9.9", 5555),
        }
        with caplog.at_level(logging.INFO, "facebento.access"):
            asyncio.run(site(scope, receive, send))
        return kept.ended

    return make


def test_a_request_is_a_span_with_its_stages(request_: Request) -> None:
    server, *others = request_()
    assert server.name == "POST /v1/detect"
    assert server.kind is SpanKind.SERVER
    assert (format(server.context.trace_id, "032x"), format(parent(server), "016x")) == (CLIENT_TRACE, CLIENT_SPAN)
    attributes = told(server)
    assert len(attributes.pop("facebento.request_id")) == 32
    assert attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/detect",
        "url.path": "/v1/detect",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "server.address": "10.0.0.1",
        "server.port": 3000,
        "facebento.key_name": "bob",
        "http.response.status_code": 200,
        "http.request.body.size": 3,
        "http.response.body.size": 2,
        "facebento.faces": 2,
    }
    assert server.status.status_code is StatusCode.UNSET
    assert [span.name for span in others] == ["receive", "wait", "decode", "encode"]
    for before, after in itertools.pairwise(others):
        assert (before.end_time or 0) <= (after.start_time or 0)
    for span in others:
        assert parent(span) == own(server)
        assert (server.start_time or 0) <= (span.start_time or 0) <= (span.end_time or 0) <= (server.end_time or 0)


def test_nothing_that_a_client_sends_is_told(request_: Request) -> None:
    everything = "".join(span.to_json() for span in request_())
    for needle in ("needle", "secret", "10.9.9.9"):
        assert needle not in everything


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/detect", [PARENT]),
        ("/v1/detect", [PARENT, (b"x-api-key", b"wrong")]),
        ("/v1/health", [PARENT, KEY]),
        ("/nowhere", [PARENT, KEY]),
    ],
)
def test_what_needs_no_key_and_what_has_none_makes_no_spans(
    request_: Request, path: str, headers: list[tuple[bytes, bytes]]
) -> None:
    assert request_(path=path, headers=headers) == []


@pytest.mark.parametrize("headers", [(KEY,), (KEY, (b"content-length", b"3"))])
def test_a_request_that_the_gate_refuses_after_the_key_has_its_span(
    request_: Request, headers: Sequence[tuple[bytes, bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    [server, *_] = request_(max_body_bytes=2, headers=headers)
    assert told(server)["http.response.status_code"] == 413
    assert told(server)["facebento.reason"] == "body_too_large"
    assert told(server)["facebento.key_name"] == caplog.records[-1].facts["key"] == "bob"  # type: ignore[attr-defined]
    assert server.status.status_code is StatusCode.UNSET, "it is the client's fault, and no error of a server's span"


def test_a_deadline_that_passes_is_an_error(request_: Request) -> None:
    async def hanging(*_: Any) -> None:
        with stages.stage("detect"):
            await asyncio.Event().wait()

    server, *others = request_(hanging, deadline_s=0.01)
    assert told(server)["http.response.status_code"] == 504
    assert told(server)["error.type"] == "deadline_exceeded"
    assert server.status.status_code is StatusCode.ERROR
    assert [(span.name, told(span).get("error.type")) for span in others] == [
        ("receive", None),
        ("wait", None),
        ("detect", "asyncio.exceptions.CancelledError"),
    ]


def test_what_fails_in_an_unforeseen_way_is_an_error_without_its_message(request_: Request) -> None:
    async def failing(*_: Any) -> None:
        raise ValueError("needle")

    spans = request_(failing)
    assert told(spans[0])["error.type"] == "500"
    assert "needle" not in "".join(span.to_json() for span in spans)


def test_lines_of_the_log_tell_which_trace(request_: Request, caplog: pytest.LogCaptureFixture) -> None:
    lines: list[dict[str, Any]] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(logs.JsonFormatter().format(record)))

    logger, handler = logging.getLogger("facebento.access"), Lines()
    logger.addHandler(handler)
    try:
        server, *_ = request_()
        request_(path="/nowhere")
    finally:
        logger.removeHandler(handler)
    traced, untraced = lines
    assert (traced["trace_id"], traced["span_id"]) == (CLIENT_TRACE, format(own(server), "016x"))
    assert "trace_id" not in untraced
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
