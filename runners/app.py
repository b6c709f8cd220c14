"""BentoML's ASGI app of a service, without the spans."""

from collections.abc import Collection
from typing import Any

from _bentoml_impl.server.app import ServiceAppFactory
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

from runners.calls import App, Receive, Scope, Send

UNKNOWN = "/unknown"  # stands for every path that a runner does not serve


class AppFactory(ServiceAppFactory):
    """Makes the app as BentoML does, but for OpenTelemetry's middleware.

    It makes a span of each request and of each piece of a body and of an answer, whether anybody collects them or not.
    An upload of 10 MB is hundreds of pieces. The spans that are worth sending are made by tracing.py.
    """

    @property
    def middlewares(self) -> list[Any]:
        return [each for each in super().middlewares if each.cls is not OpenTelemetryMiddleware]


class KnownPaths:
    """Around BentoML's app: one name for all paths that are not served.

    BentoML's metrics are labelled by the path: whoever reaches a runner could fill them.
    """

    def __init__(self, app: App, paths: Collection[str]) -> None:
        self._app = app
        self._paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and scope["path"] not in self._paths:
            scope = {**scope, "path": UNKNOWN, "raw_path": UNKNOWN.encode()}
        await self._app(scope, receive, send)
