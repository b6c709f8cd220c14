"""The page at /: the files of the folder page/, and what a browser may do with them."""

from pathlib import Path

from fastapi import APIRouter, Request, Response

from api.files import METHODS, TYPES, Files

FOLDER = Path(__file__).resolve().parent.parent / "page"

# Scripts and styles are files of this service and nothing else, and requests go to it alone. A photo that was picked is
# a blob of the browser's own. Nothing is ever made of text: what a file or an answer says is never run.
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' blob:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}

_INDEX = FOLDER / "index.html"  # has one address: /
_index = Files([_INDEX], _POLICY)
_files = Files((path for path in FOLDER.iterdir() if path.suffix in TYPES and path != _INDEX), _POLICY)

page_api = APIRouter(include_in_schema=False)


@page_api.api_route("/", methods=METHODS)
async def index(request: Request) -> Response:
    return _index.answer(request, _INDEX.name)


@page_api.api_route("/page/{name}", methods=METHODS)
async def file(request: Request, name: str) -> Response:
    return _files.answer(request, name)
