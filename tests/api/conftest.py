"""Requests to an app without a server, and without a connection."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI


@pytest.fixture(scope="session")
def ask() -> Callable[..., httpx.Response]:
    return _ask


def _ask(app: FastAPI, method: str, path: str, *, raising: bool = False, **options: Any) -> httpx.Response:
    """raising: let the app's unforeseen exceptions pass, as a server would see them."""

    async def request() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=raising)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **options)

    return asyncio.run(request())
