"""What traces cost a request: python -m bench.traces

The layers of the API around an app that does nothing but begin and end ten stages, with and without spans, in CPU time
of this process. Spans are made, queued, and encoded as for a collector, by the SDK's own thread; sending is left out.
"""

import asyncio
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

import stages
from api.access import AccessLog, Endpoints, Entrance
from api.admission import Admission
from api.gate import Gate
from api.keys import read_keys
from api.metrics import Requests
from api.tracing import RequestSpans
from tracing import Spans

REQUESTS, ROUNDS, STAGES = 500, 9, 8  # besides them there are receive, wait and encode


class Nowhere(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        encode_spans(spans).SerializeToString()
        return SpanExportResult.SUCCESS


async def answer(_: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    for _each in range(STAGES):
        with stages.stage("decode"):
            pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


def site(spans: Spans | None, requests: Requests) -> Entrance:
    keys = read_keys([("KEYS", ["bob=secret"])])
    gate = Gate(
        answer,
        guarded=lambda _: True,
        keys=lambda: keys,
        admission=Admission(places=lambda: 8, max_in_flight=8, max_body_memory_bytes=1000, patience_s=1),
        max_body_bytes=100,
        deadline_s=30,
        admitted=RequestSpans(spans).begin if spans else None,
    )
    routes = [Route("/v1/detect", answer, methods=["POST"])]
    return Entrance(AccessLog(gate, requests), Endpoints(routes))


async def one(app: Entrance) -> None:
    messages: list[Message] = [{"type": "http.request", "body": b"12"}]

    async def receive() -> Message:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop()

    async def send(_: Message) -> None:
        pass

    scope: Any = {"type": "http", "method": "POST", "path": "/v1/detect", "headers": [(b"x-api-key", b"secret")]}
    await app(scope, receive, send)


async def spent(app: Entrance) -> float:
    """Microseconds of CPU for a request."""
    began = time.process_time()
    for _ in range(REQUESTS):
        await one(app)
    return (time.process_time() - began) / REQUESTS * 1e6


async def main() -> None:
    spans = Spans("http://collector.invalid/v1/traces", "0")
    spans.start("api", Nowhere())
    requests = Requests(deadline_s=30)
    apps = {"off": site(None, requests), "on": site(spans, requests)}
    figures: dict[str, list[float]] = {name: [] for name in apps}
    for _ in range(ROUNDS):  # by turns, so that a busy machine is busy for both
        for name, app in apps.items():
            figures[name].append(await spent(app))
    for name, each in figures.items():
        print(f"{name:>4}: {median(each):6.0f} us of CPU a request ({min(each):.0f} to {max(each):.0f})")


if __name__ == "__main__":
    asyncio.run(main())
