"""The FastAPI app around the endpoints: its description, its pages, its errors."""

from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Header, Request

import api
from api import errors
from api.errors import KeyWrongError
from api.gate import ADMITTED, KEY_HEADER
from api.schemas import ErrorResponse, HTTPValidationError

INVALID: dict[int | str, dict[str, Any]] = {422: {"model": HTTPValidationError, "description": "Validation Error"}}
NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorResponse, "description": "There is none of this name"}
}
UNAVAILABLE: dict[int | str, dict[str, Any]] = {
    503: {"model": ErrorResponse, "description": "Starting, stopping, or a runner is down; see Retry-After"}
}

# What the gate and the runners may answer to any of the guarded endpoints.
GUARDED: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorResponse, "description": "An envelope that can't be read, such as multipart without boundary"},
    401: {"model": ErrorResponse, "description": "The key is wrong"},
    413: {"model": ErrorResponse, "description": "The body is too large"},
    **INVALID,
    429: {"model": ErrorResponse, "description": "More requests than the service admits; see Retry-After"},
    **UNAVAILABLE,
    504: {"model": ErrorResponse, "description": "The request's deadline passed"},
}


async def require_admitted(request: Request, _: Annotated[str, Header(alias=KEY_HEADER)]) -> None:
    """A dependency that shows the key in the OpenAPI description, and that nothing gets past which the gate let go by.

    The gate has checked the key before. Should it and the router ever disagree on what a path means, this is the lock.
    """
    if ADMITTED not in request.scope:
        raise KeyWrongError("The key in x-api-key was not checked: the path is not one of the contract's.")


def create_app(*routers: APIRouter) -> FastAPI:
    app = FastAPI(
        title="facebento",
        summary="Face detection, features and 1:1 comparison.",
        version=api.__version__,
        docs_url=None,  # api/docs.py has it
        redoc_url=None,
        # A path with a slash too many is a 404, as any other that is not in the contract.
        redirect_slashes=False,
        # Clients in the field send JSON without saying so.
        strict_content_type=False,
        # Spans and logs of every request, with what was wrong in it: nothing of a request is to be kept.
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    for router in routers:
        app.include_router(router)
    errors.install(app)
    return app
