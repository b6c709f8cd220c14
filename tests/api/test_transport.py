"""How long a client has to take what was written. What it sees of the rest is in test_connections.py."""

import asyncio
from unittest.mock import Mock

import pytest

from api.transport import PoliteTransport


def test_a_client_has_to_take_so_much_in_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        real = Mock(asyncio.Transport)
        real.get_write_buffer_size.side_effect = [300_000, 200_000, 200_000, 190_000]
        ended = asyncio.Event()
        real.abort.side_effect = ended.set
        PoliteTransport(real, asyncio.get_running_loop(), lambda: False).writing_stopped()
        async with asyncio.timeout(5):
            await ended.wait()
        assert real.get_write_buffer_size.call_count == 4

    monkeypatch.setattr(PoliteTransport, "write_s", 0.01)
    asyncio.run(test())


def test_what_was_written_before_the_end_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        real = Mock(asyncio.Transport)
        real.is_closing.return_value = False
        ended = asyncio.Event()
        real.abort.side_effect = ended.set
        PoliteTransport(real, asyncio.get_running_loop(), lambda: False).close()
        real.close.assert_called_once_with()
        real.abort.assert_not_called()
        async with asyncio.timeout(5):
            await ended.wait()

    monkeypatch.setattr(PoliteTransport, "write_s", 0.01)
    asyncio.run(test())
