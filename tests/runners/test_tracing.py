"""Spans of a runner, over BentoML's server and this caller."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from tests.runners.test_dropping import OPTIONS, Call, Gated, cancel, running, until
from tests.spans import TRACEPARENT, KeptSpans, own, parent, told
from tracing import Trace, continued

pytestmark = pytest.mark.filterwarnings("ignore:Accessing the 'model_fields' attribute:DeprecationWarning")

FACTS = {"facebento.model": "a-model:1", "facebento.device": "cpu"}


@pytest.fixture(autouse=True)
def _one_batch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runners.batching.BATCHES_AT_ONCE", 1)


class Traces:
    """Of a caller's, begun by hand."""

    def __init__(self) -> None:
        self.caller = KeptSpans()
        self.runner = KeptSpans("detector")
        self.traces: list[Trace] = []

    def call(self, call: Call, *marks: int) -> asyncio.Task[Any]:
        """A call in a trace of its own."""
        number = len(self.traces) + 1
        header = TRACEPARENT.replace("0af7651916cd43dd8448eb211c80319c", f"{number:032x}").encode()
        trace = self.caller.spans.begin("POST /x", continued([(b"traceparent", header)]), 0, {})
        assert trace is not None
        self.traces.append(trace)

        async def during() -> None:
            with trace.during("detect", time.perf_counter()):
                await call(*marks)

        return asyncio.create_task(during())

    def run(self, scenario: Callable[[Gated, Call], Coroutine[Any, Any, None]]) -> dict[int, list[ReadableSpan]]:
        """The runner's spans, by the number of the call."""

        async def whole() -> None:
            async with running(replace(OPTIONS, spans=self.runner.spans)) as (gated, call):
                await scenario(gated, call)

        asyncio.run(whole())
        found: dict[int, list[ReadableSpan]] = {}
        for span in self.runner.ended:
            assert span.context is not None
            found.setdefault(span.context.trace_id, []).append(span)
        return found


@pytest.fixture
def traces() -> Traces:
    return Traces()


def names(spans: list[ReadableSpan]) -> list[str]:
    return [span.name for span in spans]


def links(span: ReadableSpan) -> set[int]:
    return {link.context.span_id for link in span.links}


def test_a_batch_of_several_calls_is_in_the_trace_of_each_and_linked(traces: Traces) -> None:
    async def scenario(gated: Gated, call: Call) -> None:
        first = traces.call(call, 1)
        await until(lambda: gated.batches == [[1]])
        others = [traces.call(call, 2), traces.call(call, 3, 4), call(5)]
        await until(lambda: gated.arrived == 4)
        gated.let_go()
        await asyncio.gather(first, *others)
        assert [sorted(batch) for batch in gated.batches] == [[1], [2, 3, 4, 5]]

    found = traces.run(scenario)
    assert found.keys() == {1, 2, 3}, "a call that is in no trace begins none"
    batches = {}
    sent = [span for span in traces.caller.ended if span.name == "detect"]
    for number, spans in found.items():
        called, queue, batch = spans
        assert names(spans) == ["gated/run", "queue", "batch"]
        [detect] = [span for span in sent if own(span) == parent(called)]
        assert detect.context is not None
        assert detect.context.trace_id == number
        assert parent(queue) == parent(batch) == own(called)
        assert (called.start_time or 0) <= (queue.start_time or 0)
        assert queue.end_time == batch.start_time
        assert (batch.end_time or 0) <= (called.end_time or 0)
        assert told(called) == {"http.response.status_code": 200}
        batches[number] = batch
    assert told(batches[1]) == {"facebento.batch.calls": 1, "facebento.batch.rows": 1, **FACTS}
    assert told(batches[2]) == {"facebento.batch.calls": 3, "facebento.batch.rows": 4, **FACTS} == told(batches[3])
    assert links(batches[1]) == {own(found[1][0])}
    # The first of the batch has links to all calls in it, and the other one to the first.
    first, other = sorted((batches[2], batches[3]), key=lambda span: len(span.links), reverse=True)
    assert links(first) == {own(found[2][0]), own(found[3][0])}
    assert links(other) == {own(first)}


def test_a_call_that_is_split_has_all_its_batches(traces: Traces) -> None:
    async def scenario(gated: Gated, call: Call) -> None:
        gated.let_go()
        await traces.call(call, *range(1, 11))

    [spans] = traces.run(scenario).values()
    assert [told(span)["facebento.batch.rows"] for span in spans if span.name == "batch"] == [4, 4, 2]


def test_batches_without_traces_do_not_go_into_that_of_the_first_call(traces: Traces) -> None:
    async def scenario(gated: Gated, call: Call) -> None:
        gated.let_go()
        await traces.call(call, 1)
        await call(2)
        await call(3)

    [spans] = traces.run(scenario).values()
    assert names(spans) == ["gated/run", "queue", "batch"]


def test_a_call_that_is_dropped_ends_its_span(traces: Traces) -> None:
    async def scenario(gated: Gated, call: Call) -> None:
        first = call(1)
        await until(lambda: gated.batches == [[1]])
        gone = traces.call(call, 2)
        await until(lambda: gated.arrived == 2)
        await cancel(gone)
        await until(lambda: gated.statuses == [499])
        gated.let_go()
        await first

    [spans] = traces.run(scenario).values()
    assert names(spans) == ["gated/run"]
    assert told(spans[0]) == {"http.response.status_code": 499}
