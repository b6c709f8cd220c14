"""The spans of a runner in a process of its own: of each call, of its wait for a batch, and of the batch's run."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from http import HTTPStatus

from opentelemetry.trace import get_current_span

from runners.calls import App, Message, Receive, Scope, Send
from tracing import Attributes, Spans, Trace, continued


@dataclass(slots=True, eq=False)
class Call:
    """One that is traced."""

    trace: Trace
    queued: float = 0.0  # since when it waits for a batch


current: ContextVar[Call | None] = ContextVar("call", default=None)
# In the context of a batch's run: the calls that are in it, as far as they are traced.
batch: ContextVar[Sequence[Call]] = ContextVar("batch", default=())


class Traced:
    """ASGI middleware around a runner: a span for each call of a method that batches, if it is part of a trace.

    A call that tells of none has no span: a runner begins no traces.
    """

    def __init__(self, app: App, *, names: Mapping[str, str], spans: Spans) -> None:
        """names: of the spans, by the methods' routes."""
        self._app = app
        self._names = names
        self._spans = spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = self._names.get(scope["path"]) if scope["type"] == "http" else None
        trace = self._begin(name, scope) if name else None
        if trace is None:
            await self._app(scope, receive, send)
            return
        status = 0
        answered: float | None = None

        async def noted(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status = message["status"]
            answered = time.perf_counter()  # the caller goes on before this end does
            await send(message)

        token = current.set(Call(trace))
        try:
            await self._app(scope, receive, noted)
        finally:
            current.reset(token)
            failed = not status or status >= HTTPStatus.INTERNAL_SERVER_ERROR
            trace.end(
                {"http.response.status_code": status} if status else {},
                (str(status) if status else "no_answer") if failed else "",
                answered,
            )

    def _begin(self, name: str, scope: Scope) -> Trace | None:
        parent = continued(scope["headers"])
        if not get_current_span(parent).get_span_context().is_valid:
            return None
        return self._spans.begin(name, parent, time.perf_counter(), {})


@contextmanager
def ran(calls: Sequence[Call], sizes: tuple[int, int], facts: Attributes) -> Iterator[None]:
    """Tell the run of this block, a batch's, in the traces of all calls that are in it, one or more.

    A span belongs to one trace: that of the first call has links to all calls, and those of the others to it.

    sizes: of the batch in calls, traced or not, and in rows. facts: what runs it.
    """
    attributes = {"facebento.batch.calls": sizes[0], "facebento.batch.rows": sizes[1], **facts}
    began = time.perf_counter()
    for call in calls:
        call.trace.add("queue", call.queued, began)
    first, *others = calls
    with first.trace.during("batch", began, attributes, [call.trace.context for call in calls]) as span:
        try:
            yield
        finally:
            ended = time.perf_counter()
            for call in others:
                call.trace.add("batch", began, ended, attributes, [span])
