"""BentoML's ASGI app of a service, without the spans."""

from typing import Any

from _bentoml_impl.server.app import ServiceAppFactory
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware


class AppFactory(ServiceAppFactory):
    """Makes the app as BentoML does, but for OpenTelemetry's middleware.

    It makes a span of each request and of each piece of a body and of an answer, whether anybody collects them or not.
    An upload of 10 MB is hundreds of pieces. The spans that are worth sending are made by tracing.py.
    """

    @property
    def middlewares(self) -> list[Any]:
        return [each for each in super().middlewares if each.cls is not OpenTelemetryMiddleware]
