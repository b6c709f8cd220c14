"""How a request's body is read: JSON straight into its model, forms without touching the disk."""

import logging
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.formparsers import MultiPartParser
from starlette.types import Receive, Scope

from api.errors import detail

# A file part beyond this goes to a temporary file on disk. No picture does: the gate's cap on bodies bounds the memory.
MultiPartParser.spool_max_size = sys.maxsize
# It warns of each form that it can't read, which whoever sent it is told: nothing for a client to fill a log with.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


class _JsonRequest(Request):
    def __init__(self, scope: Scope, receive: Receive, model: type[BaseModel]) -> None:
        super().__init__(scope, receive)
        self._model = model

    async def json(self) -> BaseModel:
        """The body as its model, which FastAPI then takes as it is.

        By pydantic's parser, which makes no objects of what the model does not name: ten megabytes of `[],` in a field
        that nobody knows would else hold up the event loop for seconds. UTF-8 only, no endless nesting.
        """
        try:
            return self._model.model_validate_json(await self.body())
        except ValidationError as error:
            # Of the kind that FastAPI lets pass where it reads a body.
            raise HTTPException(
                422, [detail({**each, "loc": ("body", *each["loc"])}) for each in error.errors()]
            ) from None


class JsonRoute(APIRoute):
    """A route whose JSON body, if it takes one, is read as above."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        model = self.body_field.field_info.annotation if self.body_field else None
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise TypeError(f"{self.path} must take one model as its body")

        async def handler(request: Request) -> Response:
            return await handle(_JsonRequest(request.scope, request.receive, model))

        return handler
