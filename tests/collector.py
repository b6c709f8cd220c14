"""A collector as OpenTelemetry's exporters see one: spans by OTLP over HTTP, kept as they came."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Told:
    """A span, as it came."""

    name: str
    kind: int  # 1: internal, 2: server
    trace: str
    id: str
    parent: str
    began: int  # ns since 1970
    ended: int
    attributes: dict[str, Any]
    links: frozenset[str]  # ids of spans
    failed: bool
    resource: dict[str, Any]

    @property
    def role(self) -> str:
        return str(self.resource["facebento.role"])


class CollectorServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.came = threading.Condition()
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.paths: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def spans(self) -> list[Told]:
        with self.came:
            return [told for body in self.bodies for told in read(body)]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        collector = self.server
        assert isinstance(collector, CollectorServer)
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        with collector.came:
            collector.bodies.append(body)
            collector.headers.append({name.lower(): value for name, value in self.headers.items()})
            collector.paths.add(self.path)
            collector.came.notify_all()
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def collecting() -> Iterator[CollectorServer]:
    with CollectorServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def read(body: bytes) -> Iterator[Told]:
    for each in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = _values(each.resource.attributes)
        for scope in each.scope_spans:
            for span in scope.spans:
                yield Told(
                    span.name,
                    span.kind,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    _values(span.attributes),
                    frozenset(link.span_id.hex() for link in span.links),
                    span.status.code == 2,
                    resource,
                )


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in attributes}


def tree(spans: list[Told]) -> str:
    """A trace as text: each span under its parent, with when it began and how long it took, in milliseconds."""
    zero = min(span.began for span in spans)
    ids = {span.id for span in spans}
    lines = []

    def add(span: Told, depth: int) -> None:
        name = "  " * depth + span.name
        began, took = (span.began - zero) / 1e6, (span.ended - span.began) / 1e6
        lines.append(f"{name:<34} {span.role:<9} {began:8.2f} {took:8.2f}")
        for child in sorted((each for each in spans if each.parent == span.id), key=lambda each: each.began):
            add(child, depth + 1)

    for span in sorted(spans, key=lambda each: each.began):
        if span.parent not in ids:
            add(span, 0)
    return "\n".join(lines)
