"""A runner in a process of its own, or on another host: calls of its methods over HTTP."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import urlsplit
from urllib.request import url2pathname

import aiohttp
import numpy as np
from bentoml.exceptions import BentoMLException
from numpy.typing import NDArray

from runners.shared import Arena, open_arena
from runners.wire import ROWS, SHAPE, SHARED_ROWS, read_answers, write_rows
from tracing import carried

log = logging.getLogger("facebento.runners")

PROBE_TIMEOUT_S = 1.5
# A runner closes a connection after 5 idle seconds.
IDLE_S = 4
# Not worth a place in shared memory: less than what goes through a socket at once.
SMALL_BYTES = 32 * 1024
PIECE_BYTES = 256 * 1024


class RemoteRunner:
    """BentoML's own client costs more than the call itself, and sends pickles."""

    def __init__(self, url: str, version: str, headers: Mapping[str, str]) -> None:
        """url: BentoML's of the runner, file:// for a Unix socket. version: of the model, which is in its routes.

        headers: for every request.
        """
        parts = urlsplit(url)
        self.local = parts.scheme == "file"
        self._url = "http://runner" if self.local else url.rstrip("/")
        self._path = url2pathname(parts.path) if self.local else ""
        self._version = version
        self._headers = headers
        self._arena: Arena | None = None
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        # No timeout: the runner keeps to its own, callers give up by cancelling, and a runner that hangs is told by its
        # silence to probes.
        self._calls = await self._open.enter_async_context(self._session(aiohttp.ClientTimeout(None)))
        # On connections of their own.
        self._probes = await self._open.enter_async_context(self._session(aiohttp.ClientTimeout(PROBE_TIMEOUT_S)))
        self._open.callback(self._stop_sharing)
        self.share()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    def share(self) -> None:
        """Share memory with it, if it may: to be called again for each runner that takes the place of another."""
        if self.local and self._arena is None:
            self._arena = open_arena()

    def tidy(self) -> None:
        """Give back memory that is no longer needed. To be called now and then."""
        if self._arena is not None:
            self._arena.trim()

    async def placement(self) -> Any:
        """What the runner's method of that name told. Raises aiohttp's errors, TimeoutError and ValueError."""
        async with self._probes.post(f"{self._url}/placement", json={}) as response:
            response.raise_for_status()
            return await response.json()

    async def call(self, method: str, rows: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Raises aiohttp's errors, and BentoMLException with the status of what is no answer."""
        arena = self._arena
        place = arena.put(rows) if arena is not None and rows.nbytes > SMALL_BYTES else None
        if place is not None:
            with place as descriptor:
                told = await self._post(method, SHARED_ROWS, descriptor)
            if told.status != HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
                return told.answers(len(rows))
            if self._arena is arena:
                log.warning("rows are sent to a runner that can't read shared memory: %s", told.body.decode())
                self._stop_sharing()
        return (await self._post(method, ROWS, write_rows(rows))).answers(len(rows))

    async def _post(self, method: str, media_type: str, body: bytes | memoryview) -> "_Told":
        # aiohttp warns of a large body, which is to go in pieces.
        data = body if len(body) <= PIECE_BYTES else _pieces(memoryview(body))
        headers = {"content-type": media_type, "content-length": str(len(body)), **carried()}
        async with self._calls.post(f"{self._url}/{method}/{self._version}", data=data, headers=headers) as response:
            return _Told(response.status, response.headers.get(SHAPE, ""), await response.read())

    def _session(self, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientSession:
        # No limit: callers are admitted before, and a runner refuses what is too much for it.
        connector = (
            aiohttp.UnixConnector(self._path, limit=0, keepalive_timeout=IDLE_S)
            if self.local
            else aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_S)
        )
        return aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("accept", "accept-encoding", "user-agent"),
        )

    def _stop_sharing(self) -> None:
        if self._arena is not None:
            self._arena.close()
            self._arena = None


@dataclass(frozen=True, slots=True)
class _Told:
    status: int
    shape: str
    body: bytes

    def answers(self, rows: int) -> NDArray[np.float32]:
        if self.status != HTTPStatus.OK:
            raise BentoMLException(self.body.decode(errors="replace"), error_code=HTTPStatus(self.status))
        return read_answers(self.body, self.shape, rows)


async def _pieces(body: memoryview) -> AsyncIterator[memoryview]:
    for start in range(0, len(body), PIECE_BYTES):
        yield body[start : start + PIECE_BYTES]
