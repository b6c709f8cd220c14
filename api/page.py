"""The page at /: the files of the folder page/ as they are, and what a browser may do with them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

FOLDER = Path(__file__).resolve().parent.parent / "page"

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}

# Scripts and styles are files of this service and nothing else, and requests go to it alone. A photo that was picked is
# a blob of the browser's own. Nothing is ever made of text: what a file or an answer says is never run.
_POLICY = (
    "default-src 'none'; "
    "script-src 'self'; "
    "style-src 'self'; "
    "img-src 'self' blob:; "
    "connect-src 'self'; "
    "base-uri 'none'; "
    "form-action 'none'; "
    "frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), display-capture=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # A browser keeps the files and asks each time whether they have changed: an update is seen with the next load.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    headers: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> "_File":
        content = path.read_bytes()
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        return cls(content, {**_HEADERS, "Content-Type": _TYPES[path.suffix], "ETag": etag})


# All there is, by name: a path that a client makes up leads to no other file.
_FILES = {path.name: _File.read(path) for path in sorted(FOLDER.iterdir()) if path.suffix in _TYPES}
_INDEX = _FILES.pop("index.html")  # has one address: /

page_api = APIRouter(include_in_schema=False)


@page_api.api_route("/", methods=["GET", "HEAD"])
async def index(request: Request) -> Response:
    return _answer(request, _INDEX)


@page_api.api_route("/page/{name}", methods=["GET", "HEAD"])
async def file(request: Request, name: str) -> Response:
    found = _FILES.get(name)
    if found is None:
        raise HTTPException(404, "Not Found")
    return _answer(request, found)


def _answer(request: Request, asked: _File) -> Response:
    known = request.headers.get("if-none-match", "")
    # A proxy that compresses an answer makes its tag a weak one.
    if asked.headers["ETag"] in {tag.strip().removeprefix("W/") for tag in known.split(",")}:
        return Response(status_code=304, headers=asked.headers)
    return Response(asked.content, headers=asked.headers)
