"""Who is worked on, who waits, and who is told to come back later: the bounds on requests and on their bodies."""

import asyncio
from collections.abc import Callable
from typing import Self

from api.errors import TooManyRequestsError

# Waiting that has gone on for longer than this is no burst that will pass, but more than the service can do; and it is
# over once nobody has waited for as long.
BURST_S = 0.75
# Then a newcomer waits this long for a place to come free. Not at all, and clients that come again at once would keep
# the service busy with refusals; longer, and those who are let in would wait behind those who are not.
PATIENCE_S = 0.5
# For each newcomer, as many of the burst are refused: with one, the room of 48 that 64 clients leave at first is empty
# after two seconds, with two after one and a half.
MAKE_ROOM = 2

# What becomes of a request: it is worked on, or refused for one of three bounds: on all requests, on the bytes of their
# bodies, and on the places, for which it would have waited in vain.
OUTCOMES = ("admitted", "in_flight", "body_memory", "places")


class Admission:
    """A bounded number of places, a bounded room in front of them, and a bound on the bytes of all bodies.

    A burst waits its turn, first come, first served. When more keeps coming than is done, waiting helps nobody: all
    would wait, and clients would give up behind answers that are still computed. So once the room has had somebody in
    it for BURST_S, a newcomer is refused after PATIENCE_S, and for each newcomer the latest of those that came as a
    burst are refused as well. Those who are let in are then done in about the time that all places take, and a burst
    that nothing follows is still served to the last.

    After Facebook's "controlled delay" (Maurer, Fail at Scale, ACM Queue 13(8), 2015), which tells the two cases apart
    in the same way; that the burst makes room is added here.
    """

    def __init__(
        self,
        *,
        places: Callable[[], int],
        max_in_flight: int,
        max_body_memory_bytes: int,
        patience_s: float,
        count: Callable[[str], None] = lambda _: None,
    ) -> None:
        """places: how many requests are worked on at a time; asked for each, since it may follow the device.

        max_in_flight: those that are worked on, wait, or are still arriving. patience_s: how long one of a burst waits.
        count: called with one of OUTCOMES for each request.
        """
        self._places = places
        self._max_in_flight = max_in_flight
        self._max_body_memory_bytes = max_body_memory_bytes
        self._patience_s = patience_s
        self._count = count
        self._in_flight = 0
        self._in_work = 0
        self._body_bytes = 0
        self._waiting: dict[asyncio.Future[None], bool] = {}  # in order of arrival -> whether it is one of a burst
        self._waiting_since = 0.0
        self._empty_since = -BURST_S

    @property
    def requests(self) -> dict[str, int]:
        """Those that are in flight, by state: their bodies arrive, they wait for a place, or they are worked on."""
        waiting = len(self._waiting)
        return {
            "receiving": self._in_flight - self._in_work - waiting,
            "waiting": waiting,
            "working": self._in_work,
        }

    @property
    def max_in_flight(self) -> int:
        return self._max_in_flight

    @property
    def body_bytes(self) -> tuple[int, int]:
        """That are held, and that may be."""
        return self._body_bytes, self._max_body_memory_bytes

    def enter(self) -> "Seat":
        """To be called before a byte of the body is read. Raises TooManyRequestsError."""
        if self._in_flight >= self._max_in_flight:
            self._count("in_flight")
            raise TooManyRequestsError(
                "The service has as many requests in work as it admits. Try again in a second, with growing pauses."
            )
        self._in_flight += 1
        return Seat(self)

    def leave(self, seat: "Seat") -> None:
        self._in_flight -= 1
        self._body_bytes -= seat.body_bytes
        if seat.working:
            self._in_work -= 1
            self._admit()

    def hold(self, count: int) -> None:
        """Account for bytes of a body. Raises TooManyRequestsError."""
        if self._body_bytes + count > self._max_body_memory_bytes:
            self._count("body_memory")
            raise TooManyRequestsError(
                "The bodies of all requests in work are as large together as this service holds. Try again in a second."
            )
        self._body_bytes += count

    async def work(self) -> None:
        """Take a place, or wait for one. Raises TooManyRequestsError."""
        await self._take()
        self._count("admitted")

    async def _take(self) -> None:
        self._admit()  # there may be more places than there were
        if self._in_work < self._places():
            self._in_work += 1
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not self._waiting and now - self._empty_since >= BURST_S:
            self._waiting_since = now
        burst = now - self._waiting_since < BURST_S
        if not burst:
            for last in [waiter for waiter, of_burst in reversed(self._waiting.items()) if of_burst][:MAKE_ROOM]:
                self._refuse(last)
        waiter = loop.create_future()
        self._waiting[waiter] = burst
        patience = loop.call_later(self._patience_s if burst else PATIENCE_S, self._refuse, waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:  # a place came at that moment
                self._in_work -= 1
                self._admit()
            raise
        finally:
            patience.cancel()
            self._drop(waiter)

    def _admit(self) -> None:
        while self._waiting and self._in_work < self._places():
            waiter = next(iter(self._waiting))
            self._drop(waiter)
            if not waiter.done():
                self._in_work += 1
                waiter.set_result(None)

    def _drop(self, waiter: asyncio.Future[None]) -> None:
        if self._waiting.pop(waiter, None) is not None and not self._waiting:
            self._empty_since = asyncio.get_running_loop().time()

    def _refuse(self, waiter: asyncio.Future[None]) -> None:
        self._drop(waiter)
        if not waiter.done():
            self._count("places")
            waiter.set_exception(
                TooManyRequestsError(
                    "The service has more requests than it can do. Try again in a second, with growing pauses."
                )
            )


class Seat:
    """One request's share of the bounds, given back at the end of the `with`."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.body_bytes = 0
        self.working = False

    def hold(self, count: int) -> None:
        """So many bytes more of the body have come. Raises TooManyRequestsError."""
        self._admission.hold(count)
        self.body_bytes += count

    async def work(self) -> None:
        """Wait until this request may be worked on. Raises TooManyRequestsError."""
        await self._admission.work()
        self.working = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._admission.leave(self)
