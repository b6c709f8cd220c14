"""Spans that are kept in memory, instead of sent."""

from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tracing import Spans

CLIENT_TRACE, CLIENT_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{CLIENT_TRACE}-{CLIENT_SPAN}-01"


class KeptSpans:
    """`spans` is started; `ended` stops it, and gives what it told."""

    def __init__(self, role: str = "api") -> None:
        self._kept = InMemorySpanExporter()
        self.spans = Spans("http://collector.invalid/v1/traces", "1.2.3")
        self.spans.start(role, self._kept)

    @property
    def ended(self) -> Sequence[ReadableSpan]:
        """In the order in which they began."""
        self.spans.stop(10)
        return sorted(self._kept.get_finished_spans(), key=lambda span: span.start_time or 0)


def told(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def parent(span: ReadableSpan) -> int:
    """0: none."""
    return span.parent.span_id if span.parent else 0


def own(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)
