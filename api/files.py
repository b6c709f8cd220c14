"""Files that browsers load, as they are: each in memory, with its type, its tag and what a browser may do with it."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from fastapi import Request, Response
from starlette.exceptions import HTTPException

METHODS: Final = ["GET", "HEAD"]
TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}
_HEADERS = {
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), display-capture=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # A browser keeps the files and asks each time whether they have changed: an update is seen with the next load.
    "Cache-Control": "no-cache",
}


class Files:
    """All there is, by name: a path that a client makes up leads to no other file."""

    def __init__(self, paths: Iterable[Path], policy: Mapping[str, str]) -> None:
        """policy: the directives of the Content-Security-Policy of each of them."""
        told = "; ".join(f"{directive} {sources}" for directive, sources in policy.items())
        self._files = {path.name: _File(path, told) for path in paths}

    def answer(self, request: Request, name: str) -> Response:
        """Raises HTTPException, a 404, where there is none of the name."""
        asked = self._files.get(name)
        if asked is None:
            raise HTTPException(404, "Not Found")
        known = request.headers.get("if-none-match", "")
        # A proxy that compresses an answer makes its tag a weak one.
        if asked.headers["ETag"] in {tag.strip().removeprefix("W/") for tag in known.split(",")}:
            return Response(status_code=304, headers=asked.headers)
        return Response(asked.content, headers=asked.headers)


class _File:
    def __init__(self, path: Path, policy: str) -> None:
        self.content = path.read_bytes()
        etag = f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'
        about = {"Content-Security-Policy": policy, "Content-Type": TYPES[path.suffix], "ETag": etag}
        self.headers = {**_HEADERS, **about}
