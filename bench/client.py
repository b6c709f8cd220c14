"""A light HTTP/1.1 client: requests are encoded beforehand, and of an answer only what is asked for is read.

A heavy one would eat the cores that it measures.
"""

import asyncio
import base64
import json
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

NO_ANSWER = 0  # in place of a status
PATIENCE_S = 60  # twice the service's own deadline: what takes longer is a hang


@dataclass(frozen=True, slots=True)
class Answer:
    status: int  # NO_ANSWER: the connection ended, or patience, before one was complete
    headers: dict[str, str] = field(default_factory=dict)  # names in lower case
    body: bytes = b""
    seconds: float = 0.0

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def retry_after_s(self) -> float:
        """1 where it tells none, or a date, as what stands before a service may."""
        told = self.headers.get("retry-after", "")
        return float(told) if told.isdecimal() else 1.0


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int
    tls: bool = False

    @classmethod
    def of(cls, url: str) -> "Address":
        """Raises ValueError for what is no address of a service."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or parts.hostname is None:
            raise ValueError(f"{url} is no http or https address")
        tls = parts.scheme == "https"
        return cls(parts.hostname, parts.port or (443 if tls else 80), tls)


def encode(
    method: str, path: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b"", *, host: str = "bench"
) -> bytes:
    """A request with the length of its body, on a connection that stays open."""
    return head(method, path, [*headers, ("Content-Length", str(len(body)))], host=host) + body


def head(method: str, path: str, headers: Iterable[tuple[str, str]], *, host: str = "bench") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def json_post(path: str, key: str, fields: Mapping[str, Any]) -> bytes:
    """bytes among the fields go as base64."""
    texts = {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value for name, value in fields.items()
    }
    headers = [("x-api-key", key), ("Content-Type", "application/json")]
    return encode("POST", path, headers, json.dumps(texts).encode())


def form_post(path: str, key: str, fields: Mapping[str, Any], *, host: str = "bench") -> bytes:
    """bytes among the fields go as files."""
    boundary = secrets.token_hex(16)
    body = form(boundary, fields)
    headers = [("x-api-key", key), ("Content-Type", f"multipart/form-data; boundary={boundary}")]
    return encode("POST", path, headers, body, host=host)


def form(boundary: str, fields: Mapping[str, Any]) -> bytes:
    parts = []
    for name, value in fields.items():
        file = '; filename="f"' if isinstance(value, bytes) else ""
        data = value if isinstance(value, bytes) else str(value).encode()
        parts += [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode(),
            data,
            b"\r\n",
        ]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()])


class Connection(asyncio.Protocol):
    """One connection, one request at a time. Opened when needed, and again where the server has closed it."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._answer: asyncio.Future[Answer] | None = None
        self._asked_at = 0.0

    async def ask(self, request: bytes) -> Answer:
        """The answer, and the seconds from the first byte sent to the last received. Never raises for a lost one."""
        self._asked_at = time.perf_counter()
        try:
            await self.open()
        except OSError:
            return Answer(NO_ANSWER, seconds=time.perf_counter() - self._asked_at)
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._buffer.clear()
        self._transport.write(request)
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._answer
        except TimeoutError:
            return Answer(NO_ANSWER, seconds=time.perf_counter() - self._asked_at)
        finally:
            if not self._answer.done() or self._answer.cancelled():
                self.close()  # given up: what still comes is of no use to the next request
            self._answer = None

    async def open(self) -> None:
        if self._transport is None or self._transport.is_closing():
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_connection(
                lambda: self, self._address.host, self._address.port, ssl=self._address.tls or None
            )
            self._transport = transport

    async def send_and_leave(self, data: bytes) -> None:
        """Sends what may be a piece of a request, and closes without waiting for an answer."""
        await self.open()
        assert self._transport is not None
        self._transport.write(data)
        self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            return
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        first, *lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if len(self._buffer) < end + 4 + int(headers.get("content-length", 0)):
            return
        body = bytes(self._buffer[end + 4 :])
        if headers.get("connection", "").lower() == "close":
            self.close()
        self._settle(Answer(int(first.split()[1]), headers, body))

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None
        self._settle(Answer(NO_ANSWER))

    def _settle(self, answer: Answer) -> None:
        if self._answer is not None and not self._answer.done():
            seconds = time.perf_counter() - self._asked_at
            self._answer.set_result(Answer(answer.status, answer.headers, answer.body, seconds))
