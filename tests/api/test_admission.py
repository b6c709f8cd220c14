"""Who is let in, who waits, and who is refused: without a server, on an event loop whose clock is the test's."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import pytest

from api.admission import BURST_S, PATIENCE_S, Admission, Seat
from api.errors import TooManyRequestsError


class Loop(asyncio.SelectorEventLoop):
    """Time passes only by `sleep`, and then at once."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def time(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Let so much time pass, with all that happens meanwhile."""
        end = self._now + seconds
        while True:
            for _ in range(20):  # what is ready, and what that makes ready
                await asyncio.sleep(0)
            due = [timer.when() for timer in self._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
            if not due or min(due) > end:
                break
            self._now = max(self._now, min(due))
        self._now = end


class Hall:
    """An admission with its requests, which end when they are told to."""

    def __init__(self, *, places: int = 2, max_in_flight: int = 100, patience_s: float = 27) -> None:
        self.places = places
        self.admission = Admission(
            places=lambda: self.places, max_in_flight=max_in_flight, max_body_memory_bytes=1000, patience_s=patience_s
        )
        self.state: dict[int, str] = {}
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self._ends: dict[int, asyncio.Event] = {}

    def arrive(self, *names: int) -> None:
        for name in names:
            self.state[name] = "waits"
            self._ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._request(name))

    async def _request(self, name: int) -> None:
        try:
            with self.admission.enter() as seat:
                await seat.work()
                self.state[name] = "works"
                await self._ends[name].wait()
                self.state[name] = "done"
        except TooManyRequestsError:
            self.state[name] = "refused"
        except asyncio.CancelledError:
            self.state[name] = "cancelled"
            raise

    def end(self, *names: int) -> None:
        for name in names:
            self._ends[name].set()

    def are(self, state: str) -> list[int]:
        return [name for name, its in self.state.items() if its == state]


def run(scenario: Callable[[Loop], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=Loop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, Loop)
        runner.run(scenario(loop))


def test_as_many_work_as_there_are_places_and_the_others_follow_in_their_order() -> None:
    async def scenario(loop: Loop) -> None:
        hall = Hall(places=2)
        hall.arrive(1, 2, 3, 4, 5)
        await loop.sleep(0.1)
        assert hall.are("works") == [1, 2]
        hall.end(2)
        await loop.sleep(0.1)
        assert hall.are("works") == [1, 3]
        hall.end(1, 3)
        await loop.sleep(0.1)
        assert hall.are("works") == [4, 5]

    run(scenario)


def test_a_burst_that_nothing_follows_is_served_to_the_last() -> None:
    async def scenario(loop: Loop) -> None:
        hall = Hall(places=2)
        hall.arrive(*range(40))
        for _ in range(20):
            await loop.sleep(1)
            hall.end(*hall.are("works"))
        await loop.sleep(1)
        assert len(hall.are("done")) == 40

    run(scenario)


def test_more_than_can_be_done_is_refused_and_who_is_let_in_does_not_wait_for_long() -> None:
    """One is done a second, and four come."""

    async def scenario(loop: Loop) -> None:
        hall = Hall(places=2)
        arrived: dict[int, float] = {}
        waited: list[float] = []
        for tick in range(400):
            hall.arrive(tick)
            arrived[tick] = loop.time()
            await loop.sleep(0.25)
            working = hall.are("works")
            waited += [loop.time() - arrived.pop(name) for name in working if name in arrived]
            if tick % 4 == 3:
                hall.end(working[0])
        await loop.sleep(5)
        assert max(waited) <= BURST_S + 1
        assert len(hall.are("done")) == 100  # all that could be done was done
        assert len(hall.are("refused")) > 290

    run(scenario)


def test_the_latest_of_a_burst_make_room_when_more_keeps_coming() -> None:
    async def scenario(loop: Loop) -> None:
        hall = Hall(places=1)
        hall.arrive(*range(7))
        await loop.sleep(BURST_S + 0.01)
        hall.arrive(10)
        await loop.sleep(0.01)
        assert hall.are("refused") == [5, 6]
        hall.arrive(11)
        await loop.sleep(PATIENCE_S)
        assert hall.are("refused") == [3, 4, 5, 6, 10, 11]
        assert hall.are("waits") == [1, 2]
        # A room that was empty for a moment only is no sign that the worst is over.
        for name in (0, 1):
            hall.end(name)
            await loop.sleep(0.01)
        hall.arrive(20)
        await loop.sleep(PATIENCE_S)
        assert hall.state[20] == "refused"
        # Once nobody has waited for a while, a burst is one again.
        await loop.sleep(BURST_S)
        hall.arrive(30, 31)
        await loop.sleep(5)
        assert hall.are("waits") == [30, 31]

    run(scenario)


def test_nobody_waits_for_longer_than_is_of_use() -> None:
    async def scenario(loop: Loop) -> None:
        hall = Hall(places=1, patience_s=27)
        hall.arrive(1, 2)
        await loop.sleep(26.9)
        assert hall.are("waits") == [2]
        await loop.sleep(0.2)
        assert hall.are("refused") == [2]

    run(scenario)


def test_requests_beyond_the_bound_are_refused_at_once_and_take_nothing() -> None:
    admission = Admission(places=lambda: 1, max_in_flight=2, max_body_memory_bytes=10, patience_s=1)
    seats = [admission.enter(), admission.enter()]
    for _ in range(3):
        with pytest.raises(TooManyRequestsError):
            admission.enter()
    with seats[0], pytest.raises(TooManyRequestsError):
        seats[0].hold(11)
    with admission.enter(), seats[1]:
        pass


def test_bodies_are_counted_together_and_given_back() -> None:
    admission = Admission(places=lambda: 1, max_in_flight=9, max_body_memory_bytes=10, patience_s=1)
    with admission.enter() as first, admission.enter() as second:
        first.hold(4)
        first.hold(2)
        second.hold(4)
        with pytest.raises(TooManyRequestsError, match="bodies"):
            second.hold(1)
        assert (first.body_bytes, second.body_bytes) == (6, 4)
    with admission.enter() as third:
        third.hold(10)


@pytest.mark.parametrize("when", ["waiting", "given its place", "working"])
def test_a_cancelled_request_gives_back_what_it_has(when: str) -> None:
    async def scenario(loop: Loop) -> None:
        hall = Hall(places=1)
        hall.arrive(1, 2, 3)
        await loop.sleep(0.1)
        match when:
            case "waiting":
                hall.tasks[2].cancel()
                await loop.sleep(0.1)
                hall.end(1)
            case "given its place":
                hall.end(1)
                while len(hall.admission._waiting) == 2:  # noqa: ASYNC110  there is no event to wait for
                    await asyncio.sleep(0)
                assert hall.state[2] == "waits"  # its place is there, and it has not run since
                hall.tasks[2].cancel()
            case "working":
                hall.end(1)
                await loop.sleep(0.1)
                hall.tasks[2].cancel()
        await loop.sleep(0.1)
        assert hall.are("works") == [3]
        hall.end(3)
        hall.arrive(4)
        await loop.sleep(0.1)
        assert hall.are("works") == [4]
        hall.end(4)
        await loop.sleep(0.1)
        await gone(hall.tasks.values())
        assert (hall.admission._in_flight, hall.admission._in_work, len(hall.admission._waiting)) == (0, 0, 0)

    run(scenario)


async def gone(tasks: Iterable[asyncio.Task[None]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("when", ["one is done", "one comes"])
def test_more_places_are_first_for_those_who_wait(when: str) -> None:
    async def scenario(loop: Loop) -> None:
        hall = Hall(places=1)
        hall.arrive(1, 2, 3)
        await loop.sleep(0.1)
        hall.places = 2
        if when == "one is done":
            hall.end(1)
        else:
            hall.arrive(4)
        await loop.sleep(0.1)
        assert hall.are("works") == ([2, 3] if when == "one is done" else [1, 2])

    run(scenario)


def test_a_seat_that_never_worked_takes_no_place_with_it() -> None:
    admission = Admission(places=lambda: 1, max_in_flight=9, max_body_memory_bytes=10, patience_s=1)

    async def scenario() -> None:
        with admission.enter() as working:
            await working.work()
            with admission.enter() as other:
                assert isinstance(other, Seat)
            assert admission._in_work == 1

    asyncio.run(scenario())


def test_what_becomes_of_each_request_is_counted() -> None:
    async def scenario(loop: Loop) -> None:
        counted: list[str] = []
        hall = Hall(places=1, max_in_flight=3)
        hall.admission._count = counted.append
        hall.arrive(1, 2, 3, 4)
        await loop.sleep(0.1)
        assert hall.admission.requests == {"receiving": 0, "waiting": 2, "working": 1}
        hall.end(1)
        await loop.sleep(30)
        assert counted == ["admitted", "in_flight", "admitted", "places"]
        assert hall.admission.requests == {"receiving": 0, "waiting": 0, "working": 1}
        with hall.admission.enter() as seat:
            assert hall.admission.requests["receiving"] == 1
            with pytest.raises(TooManyRequestsError):
                seat.hold(1001)
        assert counted[4:] == ["body_memory"]
        assert hall.admission.bounds == {"working": 1, "in_flight": 3}

    run(scenario)
