"""Spans of what becomes of requests, for an OpenTelemetry collector, where one is set (FACEBENTO_TRACES).

One module for both ends, the API processes and the runners. What goes into a span is of fixed sets and numbers, and the
request's id; nothing else that a client wrote, and no message of an exception, which could quote it.
"""

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry import context as contexts
from opentelemetry.context import Context
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import (
    Link,
    NoOpTracer,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    format_span_id,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

log = logging.getLogger("facebento.tracing")

FLUSH_S = 2.0  # at most, for what is not sent yet when a process ends
LONGEST_HEADER = 128  # bytes: a traceparent has 55, and those of versions to come may have more

Attributes = Mapping[str, str | int]

_W3C = TraceContextTextMapPropagator()
_HEADER = b"traceparent"
# Of the libraries that send: a line for each try, and for each span that finds the queue full.
_THEIR_LOGS = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk._shared_internal")


class Spans:
    """What a process tells the collector. Made where the settings are read, which is in every process, and started in
    those that serve: threads and connections are not shared.

    OpenTelemetry's global provider stays unset, and with it whatever else could make spans. The provider that BentoML
    makes for itself has no exporter.
    """

    def __init__(self, endpoint: str, version: str) -> None:
        """endpoint: the collector's URL for spans, in full. version: of the service."""
        self._endpoint = endpoint
        self._version = version
        self._tracer: Tracer = NoOpTracer()
        self._stop: threading.Thread | None = None

    def start(self, role: str, exporter: SpanExporter | None = None) -> None:
        """role: what this process is: api, detector or embedder. exporter: in place of the one to the collector.

        OTEL_... variables are the SDK's to read: the sampler, resource attributes, limits, and of the exporter headers,
        certificates, timeout and compression.
        """
        # A tenth of a second and 6 MB, of which who wants no traces has none.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        ours = {"service.name": "facebento", "service.version": self._version, "facebento.role": role}
        provider = TracerProvider(
            resource=Resource.create(ours).merge(OTELResourceDetector().detect()),
            shutdown_on_exit=False,  # it would wait for a dead collector for 30 seconds
        )
        sender = exporter or Collector(OTLPSpanExporter(endpoint=self._endpoint), self._endpoint)
        provider.add_span_processor(BatchSpanProcessor(sender))
        self._tracer = provider.get_tracer("facebento", self._version)
        self._stop = threading.Thread(target=provider.shutdown, name="traces", daemon=True)

    def stop(self, at_most_s: float = FLUSH_S) -> None:
        """Send what is left, but wait no longer than that. From here on there are no spans."""
        self._tracer = NoOpTracer()
        stop, self._stop = self._stop, None
        if stop is not None:
            stop.start()
            stop.join(at_most_s)

    def begin(self, name: str, parent: Context, began: float, attributes: Attributes) -> "Trace | None":
        """A part of a trace, on the server's side; None where it is not sampled.

        parent: of `continued`. began: on the clock of time.perf_counter.
        """
        trace = Trace(self._tracer, name, parent, began, attributes)
        return trace if trace.recording else None


class Trace:
    """A request's or a call's span, which lasts as long as that, and those of what is done for it."""

    def __init__(self, tracer: Tracer, name: str, parent: Context, began: float, attributes: Attributes) -> None:
        self._tracer = tracer
        # Spans are told in the time of day, and measured on a clock that nobody sets.
        self._epoch_ns = time.time_ns() - time.perf_counter_ns()
        self._span = tracer.start_span(
            name, parent, SpanKind.SERVER, attributes=attributes, start_time=self._at(began), record_exception=False
        )
        self._context = set_span_in_context(self._span, Context())

    @property
    def recording(self) -> bool:
        return self._span.is_recording()

    @property
    def context(self) -> SpanContext:
        return self._span.get_span_context()

    @property
    def ids(self) -> dict[str, str]:
        """For the log: trace_id and span_id, as OpenTelemetry writes them."""
        return {"trace_id": format_trace_id(self.context.trace_id), "span_id": format_span_id(self.context.span_id)}

    @contextmanager
    def during(
        self, name: str, began: float, attributes: Attributes | None = None, links: Sequence[SpanContext] = ()
    ) -> Iterator[SpanContext]:
        """A span of this block, which has begun then. What is called meanwhile finds it by `carried`."""
        span = self._child(name, began, attributes, links)
        token = contexts.attach(set_span_in_context(span))
        try:
            yield span.get_span_context()
        except BaseException as error:
            _fail(span, f"{type(error).__module__}.{type(error).__qualname__}")
            raise
        finally:
            contexts.detach(token)
            span.end(self._at(time.perf_counter()))

    def add(
        self,
        name: str,
        began: float,
        ended: float,
        attributes: Attributes | None = None,
        links: Sequence[SpanContext] = (),
    ) -> None:
        """A span of what is over."""
        self._child(name, began, attributes, links).end(self._at(ended))

    def end(self, attributes: Attributes, error: str = "", ended: float | None = None) -> None:
        """error: what it failed by, one of a fixed set. ended: now, where it is not told."""
        self._span.set_attributes(dict(attributes))
        if error:
            _fail(self._span, error)
        self._span.end(self._at(time.perf_counter() if ended is None else ended))

    def _child(self, name: str, began: float, attributes: Attributes | None, links: Iterable[SpanContext]) -> Span:
        return self._tracer.start_span(
            name,
            self._context,
            attributes=attributes,
            links=[Link(each) for each in links],
            start_time=self._at(began),
            record_exception=False,
        )

    def _at(self, seconds: float) -> int:
        return self._epoch_ns + int(seconds * 1e9)


def _fail(span: Span, error: str) -> None:
    span.set_attribute("error.type", error)
    span.set_status(Status(StatusCode.ERROR))


def continued(headers: Iterable[tuple[bytes, bytes]]) -> Context:
    """What the caller's traceparent tells; an empty context where there is none, or what is none, or more than one.

    tracestate and baggage are not read: no trace needs them here, and both are text that a client chooses.
    """
    sent = [value for name, value in headers if name == _HEADER]
    if len(sent) != 1 or len(sent[0]) > LONGEST_HEADER:
        return Context()
    return _W3C.extract({"traceparent": sent[0].decode("latin-1")}, Context())


def carried() -> dict[str, str]:
    """The header by which a runner continues the trace of the stage that calls it; none where there is no trace."""
    headers: dict[str, str] = {}
    if get_current_span().is_recording():
        _W3C.inject(headers)
    return headers


class Collector(SpanExporter):
    """An exporter whose collector may be away: told once when it goes, and once when it is back."""

    def __init__(self, exporter: SpanExporter, endpoint: str) -> None:
        self._exporter = exporter
        self._endpoint = endpoint
        self._away = False
        self._words = _Words()
        for name in _THEIR_LOGS:
            logging.getLogger(name).addFilter(self._words)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._words.first = ""
        result = self._exporter.export(spans)
        away = result is not SpanExportResult.SUCCESS
        if away and not self._away:
            log.warning("spans can't be sent to %s, and are lost until they can: %s", self._endpoint, self._words.first)
        elif self._away and not away:
            log.warning("spans are sent to %s again", self._endpoint)
        self._away = away
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class _Words(logging.Filter):
    """Keeps what a library would log to itself. Of a batch the first line tells the cause, and the last one that it was
    given up.
    """

    first = ""

    def filter(self, record: logging.LogRecord) -> bool:
        self.first = self.first or record.getMessage()
        return False
