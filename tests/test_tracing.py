"""Spans, whose trace they go on with, and collectors that are away."""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Sequence

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import get_current_span, get_tracer_provider
from opentelemetry.trace.status import StatusCode

import stages
from tests.collector import collecting
from tests.spans import CLIENT_SPAN, CLIENT_TRACE, TRACEPARENT, KeptSpans, own, parent, told
from tracing import Collector, Spans, Trace, carried, continued


@pytest.fixture
def kept() -> KeptSpans:
    return KeptSpans()


def begun(kept: KeptSpans, traceparent: str = TRACEPARENT) -> Trace:
    parent = continued([(b"traceparent", traceparent.encode())])
    trace = kept.spans.begin("POST /x", parent, time.perf_counter(), {"a": 1})
    assert trace is not None
    return trace


def test_a_caller_s_trace_goes_on(kept: KeptSpans) -> None:
    trace = begun(kept)
    assert trace.ids["trace_id"] == CLIENT_TRACE
    trace.end({"b": 2})
    [span] = kept.ended
    assert format(parent(span), "016x") == CLIENT_SPAN
    assert told(span) == {"a": 1, "b": 2}
    assert {
        "service.name",
        "service.version",
        "service.instance.id",
        "facebento.role",
    } <= span.resource.attributes.keys()


@pytest.mark.parametrize(
    "sent",
    [
        [],
        [b""],
        [b"x"],
        [b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01"],
        [b"00-0af7651916cd43dd8448eb211c80319c-" + b"0" * 16 + b"-01"],
        [TRACEPARENT.upper().encode()],
        [TRACEPARENT.encode() + b"-more"],
        [b"ff" + TRACEPARENT[2:].encode()],
        [b"\xff" * 55],
        [b"01" + TRACEPARENT[2:].encode() + b"-" + b"x" * 10_000],
        [TRACEPARENT.encode(), TRACEPARENT.encode()],
    ],
)
def test_what_is_no_traceparent_is_passed_over(sent: list[bytes], caplog: pytest.LogCaptureFixture) -> None:
    assert continued([(b"traceparent", value) for value in sent]) == Context()
    assert not caplog.records


def test_nothing_else_that_a_caller_sends_is_read(caplog: pytest.LogCaptureFixture) -> None:
    others = [(b"tracestate", b"needle=\xff,,=" * 1000), (b"tracestate", b"needle=1"), (b"baggage", b"needle=1")]
    context = continued([(b"traceparent", TRACEPARENT.encode()), *others])
    assert len(context) == 1
    assert not get_current_span(context).get_span_context().trace_state
    assert not caplog.records


def test_a_caller_who_is_not_sampled_has_no_spans(kept: KeptSpans) -> None:
    parent = continued([(b"traceparent", TRACEPARENT[:-1].encode() + b"0")])
    assert kept.spans.begin("POST /x", parent, 0, {}) is None


def test_who_tells_of_no_trace_begins_one_as_the_sampler_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert KeptSpans().spans.begin("POST /x", Context(), 0, {}) is not None
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    assert KeptSpans().spans.begin("POST /x", Context(), 0, {}) is None


def test_the_operator_s_own_resource_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.name=faces")
    kept = KeptSpans("detector")
    begun(kept).end({})
    resource = kept.ended[0].resource.attributes
    assert resource["service.name"] == "faces"
    assert resource["deployment.environment.name"] == "test"
    assert resource["facebento.role"] == "detector"


def test_stages_are_spans_within_the_request_s_and_as_long_as_the_log_says(kept: KeptSpans) -> None:
    work = stages.Work("id")
    work.trace = begun(kept)

    async def request() -> None:
        stages.current.set(work)
        since = time.perf_counter()
        with stages.stage("detect"), stages.aside():
            assert carried()["traceparent"].startswith(f"00-{CLIENT_TRACE}-")
            with stages.stage("queue"):  # a part of another stage, and not told
                await asyncio.sleep(0)
        work.spend("queue", since)
        with pytest.raises(ValueError, match="needle"), stages.stage("decode"):
            raise ValueError("needle")

    asyncio.run(request())
    assert carried() == {}
    work.trace.end({}, "late")
    server, *others = kept.ended
    assert sorted(span.name for span in others) == ["decode", "detect", "queue"]
    for span in others:
        assert parent(span) == own(server)
        assert span.start_time is not None
        assert span.end_time is not None
        assert (server.start_time or 0) <= span.start_time <= span.end_time <= (server.end_time or 0)
        assert (span.end_time - span.start_time) / 1e9 == pytest.approx(work.seconds[span.name], abs=0.001)
    failed = others[-1]
    assert (failed.name, told(failed)) == ("decode", {"error.type": "builtins.ValueError"})
    assert not failed.events, "the message of an exception may quote what a client sent"
    assert not failed.status.description
    assert (server.status.status_code, told(server)["error.type"]) == (StatusCode.ERROR, "late")


def test_the_time_is_that_of_day(kept: KeptSpans) -> None:
    before = time.time_ns()
    begun(kept).end({})
    [span] = kept.ended
    assert before - 10**6 < (span.start_time or 0) <= (span.end_time or 0) < time.time_ns() + 10**6


def test_no_global_provider_is_set(kept: KeptSpans) -> None:
    begun(kept).end({})
    assert type(get_tracer_provider()).__name__ == "ProxyTracerProvider"


def test_before_the_start_and_after_the_end_there_are_no_spans() -> None:
    spans = Spans("http://collector.invalid/v1/traces", "1")
    assert spans.begin("x", continued([(b"traceparent", TRACEPARENT.encode())]), 0, {}) is None
    spans.stop()
    spans.start("api")
    assert spans.begin("x", Context(), 0, {}) is not None
    spans.stop(0)
    assert spans.begin("x", Context(), 0, {}) is None


def test_what_is_left_is_sent_at_the_end_to_that_address_and_with_the_operator_s_headers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20token")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")  # not the one that was set here
    with collecting() as collector:
        spans = Spans(f"{collector.url}/here/v1/traces", "1")
        spans.start("api")
        trace = spans.begin("x", Context(), time.perf_counter(), {})
        assert trace is not None
        trace.end({})
        spans.stop(30)
        assert [span.name for span in collector.spans] == ["x"]
        assert collector.paths == {"/here/v1/traces"}
        assert collector.headers[0]["authorization"] == "Bearer token"


class Failing(SpanExporter):
    """As the exporter to a collector: it logs each try."""

    def __init__(self) -> None:
        self.works = False

    def export(self, _: Sequence[ReadableSpan]) -> SpanExportResult:
        if self.works:
            return SpanExportResult.SUCCESS
        for name in ("exporter.otlp.proto.http.trace_exporter", "sdk._shared_internal"):
            logging.getLogger(f"opentelemetry.{name}").warning("Connection refused")
        return SpanExportResult.FAILURE


def test_a_collector_that_is_away_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("exporter.otlp.proto.http.trace_exporter", "sdk._shared_internal"):
        monkeypatch.setattr(logging.getLogger(f"opentelemetry.{name}"), "filters", [])
    exporter = Failing()
    collector = Collector(exporter, "http://c/v1/traces")
    for works in (False, False, False, True, True, False, False):
        exporter.works = works
        collector.export([])
    assert [record.getMessage() for record in caplog.records] == [
        "spans can't be sent to http://c/v1/traces, and are lost until they can: Connection refused",
        "spans are sent to http://c/v1/traces again",
        "spans can't be sent to http://c/v1/traces, and are lost until they can: Connection refused",
    ]


def test_one_that_takes_no_answer_does_not_hold_up_the_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections wait in its backlog
        spans = Spans(f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces", "1")
        spans.start("api")
        trace = spans.begin("x", Context(), time.perf_counter(), {})
        assert trace is not None
        trace.end({})
        stopping = threading.Thread(target=spans.stop, args=(0.1,), daemon=True)
        stopping.start()
        stopping.join(5)  # the exporter itself waits for ten seconds
        assert not stopping.is_alive()


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
    go = threading.Event()
    sizes: list[int] = []

    class Slow(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            go.wait(30)
            sizes.append(len(spans))
            return SpanExportResult.SUCCESS

    spans = Spans("http://collector.invalid/v1/traces", "1")
    spans.start("api", Slow())
    for _ in range(1000):
        trace = spans.begin("x", Context(), time.perf_counter(), {})
        assert trace is not None
        trace.end({})
    go.set()
    spans.stop(30)
    assert sum(sizes) <= 30
