"""The description at /docs: Swagger UI, whose scripts the package fastapi-offline brings, and what it may do.

It has the page's origin, and whatever ran in it could read the key that the page keeps.
"""

from pathlib import Path

import fastapi_offline
from fastapi import APIRouter, Request, Response

from api.files import METHODS, Files

FOLDER = Path(__file__).resolve().parent.parent / "swagger"
SWAGGER_UI = Path(fastapi_offline.__file__).parent / "static"

# Its icons are in its stylesheet. It makes markup of the description's texts, so that text can't be told to be none.
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}

_index = Files([FOLDER / "index.html"], _POLICY)
_files = Files([FOLDER / "start.js"], _POLICY)
_swagger_ui = Files(
    (SWAGGER_UI / name for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")),
    _POLICY,
)

docs_api = APIRouter(include_in_schema=False)


@docs_api.api_route("/docs", methods=METHODS)
async def docs(request: Request) -> Response:
    return _index.answer(request, "index.html")


@docs_api.api_route("/docs/{name}", methods=METHODS)
async def script(request: Request, name: str) -> Response:
    return _files.answer(request, name)


@docs_api.api_route("/static-offline-docs/{name}", methods=METHODS)
async def swagger_ui(request: Request, name: str) -> Response:
    return _swagger_ui.answer(request, name)
