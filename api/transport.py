"""How a connection ends: so that the last answer arrives, and however its client behaves."""

import asyncio
from collections.abc import Callable
from typing import Any


class PoliteTransport(asyncio.Transport):
    """The real one, as uvicorn uses it, closed in a way that gives the client time, but not for ever.

    unread: whether the client may still be sending what nobody is going to read. Closed at once, such a connection
    would be reset, and the client, busy sending, would not see its answer. So it is closed for writing only, and
    what comes is thrown away until the client has closed it, too, or its time or its bytes are spent.
    """

    linger_s = 5.0
    linger_bytes = 128 * 1024 * 1024
    write_s = 10.0  # in which a client has to take
    write_bytes = 64 * 1024  # of what waits for it

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, unread: Callable[[], bool]
    ) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._unread = unread
        self._closing = False
        self._thrown_away = 0
        self._end: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        if self.is_closing():
            return
        self._closing = True
        if self._unread():
            self._transport.resume_reading()
            if self._transport.can_write_eof():
                self._transport.write_eof()
            self._end = self._loop.call_later(self.linger_s, self._transport.abort)
        else:
            self._transport.close()
            self._end = self._loop.call_later(self.write_s, self._transport.abort)

    def abort(self) -> None:
        self._closing = True
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._closing or self._transport.is_closing()

    def throw_away(self, data: bytes) -> None:
        """To be called with what comes and is not to be read."""
        self._thrown_away += len(data)
        if self._thrown_away > self.linger_bytes:
            self.abort()

    def lost(self) -> None:
        """To be called when the connection is no more."""
        self._closing = True
        for timer in (self._end, self._watch):
            if timer is not None:
                timer.cancel()

    def writing_stopped(self) -> None:
        """To be called when the client does not take what is written as fast as it is written."""
        at_most = self._transport.get_write_buffer_size() - self.write_bytes
        self._watch = self._loop.call_later(self.write_s, self._look_again, at_most)

    def writing_goes_on(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    def _look_again(self, at_most: int) -> None:
        if self._transport.get_write_buffer_size() > at_most:
            self.abort()
        else:
            self.writing_stopped()

    def pause_reading(self) -> None:
        if not self.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self.is_closing():
            self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)
