"""Both clients, and a clock that sleeping moves."""

import asyncio
import time

import pytest

from clients.python.tests.answering import Ask, ask, ask_async


@pytest.fixture(params=[ask, ask_async], ids=["sync", "async"])
def asked(request: pytest.FixtureRequest) -> Ask:
    """How a client is asked: once each."""
    way: Ask = request.param
    return way


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made; the clock passes over them."""
    made: list[float] = []
    monotonic = time.monotonic

    async def nap(seconds: float) -> None:
        made.append(seconds)

    monkeypatch.setattr(time, "sleep", made.append)
    monkeypatch.setattr(asyncio, "sleep", nap)
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + sum(made))
    return made
