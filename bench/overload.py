"""Four times what the service can do, idle connections, bursts, and clients that go away.

    python -m bench.overload [--part PART] [--seconds 60]

Each part has a server of its own, with the default settings.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench import known, report
from bench.client import Address, Connection
from bench.known import Known
from bench.load import Tally, burst, closed_loop, open_loop
from bench.probe import HealthProbe
from bench.report import Report
from bench.serving import pid, serving
from bench.usage import CpuMeter
from tests.e2e.running import Server

CLIENTS = 16  # as many as keep it busy; what it does for them is its capacity
TIMES = 4
MOST_RATIO = 2  # p99 of what is admitted under overload, by p99 without
ALLOWED = {200, 429, 503}
IDLE_CONNECTIONS = 500
IDLE_S = 10
BURSTS = (100, 330)
CANCELLED = 100
CANCELLED_AFTER_S = 0.05
MOST_CLIENTS = 1000  # where the search for the first 429 ends
JOINING_PER_S = 25


@dataclass(frozen=True)
class Bench:
    server: Server
    told: Report
    goods: Sequence[Known]  # requests that need both models, of two people in turn
    seconds: float
    part: str

    @property
    def address(self) -> Address:
        return Address.of(self.server.url)

    def loaded(self, load: Callable[[], Tally]) -> Tally:
        """Puts a load on it; tells what came of it, of /v1/health meanwhile, and the CPU that either side took."""
        meter = CpuMeter(pid(self.server))
        with HealthProbe(self.address) as health:
            tally = load()
        cores = meter.cores()
        tally.tell(self.told, self.part)
        text = f"{cores.service:.2f}, {cores.client:.2f}, {cores.others:.2f}"
        self.told.tell(self.part, "cores: service, client, others", text)
        health.tell(self.told, self.part)
        return tally

    def allowed(self, tally: Tally) -> None:
        others = {status: n for status, n in tally.statuses.items() if status not in ALLOWED}
        self.told.at_most(self.part, "answers but 200, 429, 503", sum(others.values()), 0)

    def capacity(self) -> Tally:
        asyncio.run(closed_loop(self.address, self.goods, clients=CLIENTS, seconds=min(3.0, self.seconds)))
        return asyncio.run(closed_loop(self.address, self.goods, clients=CLIENTS, seconds=max(5.0, self.seconds / 3)))

    def against(self, alone: Tally, crowded: Tally) -> None:
        self.told.tell(self.part, f"200s a second at 1x ({CLIENTS} clients)", alone.rate)
        self.told.tell(self.part, "200s p50 at 1x, ms", alone.ms(50))
        self.told.tell(self.part, "200s p99 at 1x, ms", alone.ms(99))
        self.told.tell(self.part, "throughput by that at 1x", crowded.rate / alone.rate)
        self.told.at_most(self.part, "p99 by that at 1x", crowded.ms(99) / alone.ms(99), MOST_RATIO)
        self.allowed(crowded)


def patient(bench: Bench) -> None:
    _crowd(bench, patient=True)


def rude(bench: Bench) -> None:
    _crowd(bench, patient=False)


def _crowd(bench: Bench, *, patient: bool) -> None:
    alone = bench.capacity()
    crowd = closed_loop(bench.address, bench.goods, clients=CLIENTS * TIMES, seconds=bench.seconds, patient=patient)
    bench.against(alone, bench.loaded(lambda: asyncio.run(crowd)))


def arrivals(bench: Bench) -> None:
    """An open loop: nobody waits for anybody."""
    alone = bench.capacity()
    rate = TIMES * alone.rate
    bench.told.tell(bench.part, "arrivals a second", rate)
    bench.against(
        alone,
        bench.loaded(lambda: asyncio.run(open_loop(bench.address, bench.goods, rate=rate, seconds=bench.seconds))),
    )


def first_429(bench: Bench) -> None:
    """Clients join one after the other, each asking again as soon as it is answered, until one is refused."""
    clients, rate = asyncio.run(_join(bench))
    text = f"none up to {clients}" if clients >= MOST_CLIENTS else f"{clients}"
    bench.told.tell(bench.part, "clients at the first 429", text)
    bench.told.tell(bench.part, "200s a second until then", rate)


async def _join(bench: Bench) -> tuple[int, float]:
    refused = asyncio.Event()
    good = bench.goods[0]
    answered = 0
    start = time.perf_counter()

    async def client() -> None:
        nonlocal answered
        connection = Connection(bench.address)
        while not refused.is_set():
            status = (await connection.ask(good.request)).status
            answered += status == 200
            if status == 429:
                refused.set()
        connection.close()

    tasks: list[asyncio.Task[None]] = []
    while not refused.is_set() and len(tasks) < MOST_CLIENTS:
        tasks.append(asyncio.create_task(client()))
        await asyncio.sleep(1 / JOINING_PER_S)
    found = len(tasks), answered / (time.perf_counter() - start)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return found


def idle(bench: Bench) -> None:
    """500 connections on which nothing is sent, while four clients work."""
    few = closed_loop(bench.address, bench.goods, clients=4, seconds=bench.seconds / 4)
    alone = asyncio.run(few)

    async def beside() -> Tally:
        connections = [Connection(bench.address) for _ in range(IDLE_CONNECTIONS)]
        for connection in connections:
            await connection.open()
        tally = await closed_loop(bench.address, bench.goods, clients=4, seconds=bench.seconds / 4)
        for connection in connections:
            connection.close()
        return tally

    beside_them = bench.loaded(lambda: asyncio.run(beside()))
    bench.told.tell(bench.part, "200s a second without them", alone.rate)
    bench.told.at_least(bench.part, "throughput by that without them", beside_them.rate / alone.rate, 0.8)
    bench.told.at_most(bench.part, "p99 by that without them", beside_them.ms(99) / alone.ms(99), MOST_RATIO)
    bench.told.at_most(bench.part, "answers but 200", sum(beside_them.statuses.values()) - beside_them.statuses[200], 0)


def bursts(bench: Bench) -> None:
    """Many at once, after ten idle seconds."""
    for count in BURSTS:
        time.sleep(IDLE_S)
        tally = asyncio.run(burst(bench.address, bench.goods, count))
        bench.told.tell(bench.part, f"{count} at once", tally.text())
        bench.told.tell(bench.part, f"{count} at once, all answered after, s", tally.lasted_s)
        bench.told.tell(bench.part, f"{count} at once, 200s p99, ms", tally.ms(99))
        bench.allowed(tally)
        bench.told.at_most(bench.part, f"{count} at once, wrong answers", len(tally.wrong), 0)


def cancelled(bench: Bench) -> None:
    """A hundred requests cut off; then, does a fresh one wait behind what nobody waits for?"""
    alone = asyncio.run(closed_loop(bench.address, bench.goods, clients=1, seconds=3))
    fresh = asyncio.run(_after_cancelled(bench))
    bench.told.tell(bench.part, "lone request p50, ms", alone.ms(50))
    bench.told.tell(bench.part, "lone request p99, ms", alone.ms(99))
    bench.told.holds(
        bench.part, f"a request after {CANCELLED} cut off: status", str(fresh[0]), wanted="200", reached=fresh[0] == 200
    )
    # What has begun is not interrupted: a batch of either runner, and the images that are decoded.
    bench.told.at_most(bench.part, f"a request after {CANCELLED} cut off, ms", 1000 * fresh[1], 1000)


async def _after_cancelled(bench: Bench) -> tuple[int, float]:
    connections = [Connection(bench.address) for _ in range(CANCELLED)]
    for connection in connections:
        await connection.open()
    tasks = [asyncio.create_task(connection.ask(bench.goods[0].request)) for connection in connections]
    await asyncio.sleep(CANCELLED_AFTER_S)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    fresh = Connection(bench.address)
    answer = await fresh.ask(bench.goods[0].request)
    fresh.close()
    return answer.status, answer.seconds


PARTS: dict[str, Callable[[Bench], None]] = {
    "patient": patient,
    "rude": rude,
    "arrivals": arrivals,
    "first-429": first_429,
    "idle": idle,
    "bursts": bursts,
    "cancelled": cancelled,
}


def main() -> None:
    parser = report.options(__doc__, parts=list(PARTS))
    parser.add_argument("--seconds", type=float, default=60, help="of overload")
    given = parser.parse_args()
    told = Report("bench.overload")
    for part in given.part or PARTS:
        with serving() as server:
            goods = asyncio.run(known.learn(server))
            job = [known.named(goods, "embeddings"), known.named(goods, "embeddings of another")]
            PARTS[part](Bench(server, told, job, 6 if given.quick else given.seconds, part))
    told.finish(given.json)


if __name__ == "__main__":
    main()
