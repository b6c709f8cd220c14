"""A service that answers what a test says, and both clients of it."""

import asyncio
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from facebento_client import AsyncClient, Client, Feature

KEY = "fb_very-secret"
FACE = {
    "processed": True,
    "confidence": 0.875,
    "boundingBox": {"left": 10, "top": 20, "right": 50, "bottom": 70},
    "landmarks": [{"x": 20, "y": 35}, {"x": 40, "y": 35}, {"x": 30, "y": 45}, {"x": 22, "y": 58}, {"x": 38, "y": 58}],
}
NOBODY = {
    "processed": False,
    "confidence": 0,
    "boundingBox": {"left": 0, "top": 0, "right": 0, "bottom": 0},
    "landmarks": [{"x": 0, "y": 0}] * 5,
}
EMBEDDER = bytes(range(16))


def feature(*vector: float, embedder: bytes = EMBEDDER) -> Feature:
    body = struct.pack(f"<4sBBH16s{len(vector)}f", b"FBFT", 1, 1, len(vector), embedder, *vector)
    return Feature(body + struct.pack("<I", zlib.crc32(body)))


@dataclass
class Service:
    """Answers one after the other, the last one for ever. An exception is raised instead."""

    answers: list[httpx.Response | httpx.RequestError]
    requests: list[httpx.Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.bodies.append(request.read() if isinstance(request.stream, httpx.SyncByteStream) else b"")
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, httpx.RequestError):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    async def answer_later(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return self.answer(request)


def answers(*given: httpx.Response | httpx.RequestError | Any) -> Service:
    """Of JSON bodies with status 200, responses, and errors."""
    kinds = httpx.Response, httpx.RequestError
    return Service([each if isinstance(each, kinds) else httpx.Response(200, json=each) for each in given])


Ask = Callable[..., Any]


def ask(service: Service, method: str, *args: Any, **options: Any) -> Any:
    """What a method of Client answers; of `options`, those of the constructor go there."""
    client = sync_client(service, **_constructors(options))
    return getattr(client, method)(*args, **options)


def ask_async(service: Service, method: str, *args: Any, **options: Any) -> Any:
    """The same of AsyncClient."""

    async def asked() -> Any:
        async with async_client(service, **_constructors(options)) as client:
            return await getattr(client, method)(*args, **options)

    return asyncio.run(asked())


def sync_client(service: Service, **options: Any) -> Client:
    http = httpx.Client(transport=httpx.MockTransport(service.answer), follow_redirects=True)
    return Client("http://service:3000", api_key=KEY, http=http, **options)


def async_client(service: Service, **options: Any) -> AsyncClient:
    http = httpx.AsyncClient(transport=httpx.MockTransport(service.answer_later), follow_redirects=True)
    return AsyncClient("http://service:3000", api_key=KEY, http=http, **options)


def _constructors(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options.pop(name) for name in ("form", "retry", "timeout") if name in options}
