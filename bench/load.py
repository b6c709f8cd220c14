"""Clients: so many at a time (closed loop), or so many arrivals a second whatever is answered (open loop)."""

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bench.client import NO_ANSWER, Address, Answer, Connection
from bench.report import Report, percentile


class Question(Protocol):
    """A good request: bench.known has them with their answers."""

    @property
    def name(self) -> str: ...

    @property
    def request(self) -> bytes:
        """As it is sent."""

    def wrong(self, answer: Answer) -> bool:
        """Whether a 200 says something else than it should."""


@dataclass
class Tally:
    """What came back."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: dict[int, list[float]] = field(default_factory=dict)  # by status
    within: int = 0  # 200s that came while the load lasted
    lasted_s: float = 0.0
    wrong: list[str] = field(default_factory=list)  # names of good requests answered wrong
    longest_s: float = 0.0

    def add(self, answer: Answer, known: Question, *, within: bool) -> None:
        self.statuses[answer.status] += 1
        self.seconds.setdefault(answer.status, []).append(answer.seconds)
        self.longest_s = max(self.longest_s, answer.seconds)
        self.within += within and answer.status == 200
        if known.wrong(answer):
            self.wrong.append(known.name)

    @property
    def rate(self) -> float:
        """200s a second."""
        return self.within / self.lasted_s if self.lasted_s else 0.0

    def ms(self, percent: float, status: int = 200) -> float:
        return 1000 * percentile(self.seconds.get(status, []), percent)

    def text(self) -> str:
        names = {NO_ANSWER: "no answer"}
        return ", ".join(f"{count} x {names.get(status, status)}" for status, count in sorted(self.statuses.items()))

    def tell(self, report: Report, part: str) -> None:
        report.tell(part, "answers", self.text())
        report.tell(part, "200s a second", self.rate)
        report.tell(part, "200s p50, ms", self.ms(50))
        report.tell(part, "200s p99, ms", self.ms(99))
        if 429 in self.statuses:
            report.tell(part, "429s p99, ms", self.ms(99, 429))
        report.at_most(part, "wrong answers", len(self.wrong), 0)


async def closed_loop(
    address: Address, known: Sequence[Question], *, clients: int, seconds: float, patient: bool = True
) -> Tally:
    """Each client asks again as soon as it is answered; a patient one waits after a 429 as it is told to."""
    tally = Tally(lasted_s=seconds)
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        connection = Connection(address)
        turn = number
        while time.perf_counter() < end:
            good = known[turn % len(known)]
            turn += 1
            answer = await connection.ask(good.request)
            tally.add(answer, good, within=time.perf_counter() <= end)
            if patient and answer.status in (429, 503):
                await asyncio.sleep(min(answer.retry_after_s, max(0.0, end - time.perf_counter())))
            elif answer.status == NO_ANSWER:
                await asyncio.sleep(0.05)  # a server that is gone is not to be asked thousands of times a second
        connection.close()

    await _all(client(number) for number in range(clients))
    return tally


async def open_loop(address: Address, known: Sequence[Question], *, rate: float, seconds: float) -> Tally:
    """Arrivals at fixed times, as of many clients that know nothing of each other."""
    tally = Tally(lasted_s=seconds)
    idle: list[Connection] = []
    start = time.perf_counter()

    async def arrival(number: int) -> None:
        await asyncio.sleep(start + number / rate - time.perf_counter())
        connection = idle.pop() if idle else Connection(address)
        good = known[number % len(known)]
        answer = await connection.ask(good.request)
        tally.add(answer, good, within=time.perf_counter() <= start + seconds)
        idle.append(connection)

    await _all(arrival(number) for number in range(int(rate * seconds)))
    for connection in idle:
        connection.close()
    return tally


async def burst(address: Address, known: Sequence[Question], count: int) -> Tally:
    """All at once, each on a connection of its own that is open already."""
    connections = [Connection(address) for _ in range(count)]
    for connection in connections:
        await connection.open()
    tally = Tally()
    start = time.perf_counter()

    async def one(number: int) -> None:
        good = known[number % len(known)]
        tally.add(await connections[number].ask(good.request), good, within=True)

    await _all(one(number) for number in range(count))
    tally.lasted_s = time.perf_counter() - start
    for connection in connections:
        connection.close()
    return tally


async def _all(work: Iterable[Coroutine[None, None, None]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for each in work:
            tasks.create_task(each)
