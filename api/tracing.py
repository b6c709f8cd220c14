"""The span of a request: begun once its key is good, ended with its answer."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from starlette.types import Scope

import stages
from api.gate import ADMITTED, ENDPOINT
from tracing import Spans, continued

Interval = tuple[str, float, float]  # a stage, when it began, when it ended, on the clock of stages.Work


class RequestSpans:
    """For the gate: begins the span of each request whose key is good.

    What can be sent without a key makes no spans: whoever has none can neither fill the collector nor have a trace
    sampled by a header. The log and the metrics tell of all requests.
    """

    def __init__(self, spans: Spans) -> None:
        self._spans = spans

    def begin(self, scope: Scope) -> None:
        """In the caller's trace, where it tells one. The gate has noted the key's name, and the entrance the path's."""
        work = stages.current.get()
        if work is None:
            return
        endpoint = scope[ENDPOINT]
        # OpenTelemetry's names for a server's span. Of a guarded endpoint the template is the path itself. Not
        # told: who the client is (client.address, user_agent.original), and Host, which it chooses.
        attributes: dict[str, Any] = {
            "http.request.method": scope["method"],
            "http.route": endpoint,
            "url.path": endpoint,
            "url.scheme": scope.get("scheme", "http"),
            "network.protocol.version": scope.get("http_version", "1.1"),
            "facebento.request_id": work.request_id,
            "facebento.key_name": scope[ADMITTED],
        }
        host, port = scope.get("server") or (None, None)
        if port is not None:
            attributes |= {"server.address": host, "server.port": port}
        name = f"{scope['method']} {endpoint}"
        work.trace = self._spans.begin(name, continued(scope["headers"]), work.began, attributes)


def end(work: stages.Work, told: Iterable[Interval], status: int, *, bytes_in: int, bytes_out: int) -> None:
    """End the request's span, where it has one. told: stages that have no spans yet."""
    if work.trace is None:
        return
    for name, began, ended in told:
        work.trace.add(name, began, ended)
    attributes: dict[str, Any] = {
        "http.response.status_code": status,
        "http.request.body.size": bytes_in,
        "http.response.body.size": bytes_out,
    }
    if work.faces is not None:
        attributes["facebento.faces"] = work.faces
    if work.reason:
        attributes["facebento.reason"] = work.reason
    failed = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    work.trace.end(attributes, (work.reason or str(status)) if failed else "")
