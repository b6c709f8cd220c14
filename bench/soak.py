"""Mixed good and bad requests for a long time, at half of what it can do: does memory stay where it was?

python -m bench.soak [--minutes 30]
"""

import asyncio
import itertools
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench import hostile_pictures, known, report
from bench.cases import Case, Sender
from bench.client import Address, Connection, form_post
from bench.hostile import Maker
from bench.known import Known
from bench.load import Tally
from bench.probe import HealthProbe
from bench.report import Report, percentile, slope
from bench.serving import pid, serving
from bench.usage import Usage, usage
from tests.e2e.running import Server

SHARE = 0.5  # of the capacity
BAD = 0.4  # of the requests
LARGE = {24: 0.004, 49: 0.002}  # megapixels: share of the requests
CLIENTS = 16  # that find the capacity
SAMPLE_S = 10
WARM_UP = 0.2  # of the time: what is allocated once is allocated then
MOST_MIB = 50  # between the warm-up and the end
SLOPE_MINUTES = 20  # below it, the slope says nothing of an hour
MOST_MIB_PER_H = 50


@dataclass
class Soaked:
    good: Tally = field(default_factory=Tally)
    large: Tally = field(default_factory=Tally)
    bad: int = 0
    refused: int = 0  # bad ones answered with 429
    faults: list[str] = field(default_factory=list)
    samples: list[tuple[float, Usage]] = field(default_factory=list)  # seconds since the beginning


@dataclass(frozen=True)
class Mixture:
    """What is sent, from a seed."""

    goods: Sequence[Known]
    large: Sequence[tuple[float, Known]]  # share, request
    maker: Maker
    rng: random.Random

    def next(self, number: int) -> tuple[Known | None, Case | None, bool]:
        """A good request or a bad one; whether it is one of the large."""
        drawn = self.rng.random()
        for share, known_ in self.large:
            if drawn < share:
                return known_, None, True
            drawn -= share
        if drawn < BAD:
            return None, self.maker.case(number), False
        return self.rng.choice(self.goods), None, False


async def mixture(server: Server, seed: int) -> Mixture:
    hostile_pictures.make_all()
    goods = await known.learn(server)
    feature = known.named(goods, "feature").right["feature"]
    large = []
    for megapixels, share in LARGE.items():
        request = form_post("/v1/file/detect", server.key, {"image": hostile_pictures.large(megapixels).data})
        connection = Connection(Address.of(server.url))
        answer = await connection.ask(request)
        connection.close()
        if answer.status != 200:
            raise RuntimeError(f"{megapixels} megapixels: {answer.status}")
        large.append((share, Known(f"{megapixels} megapixels", request, answer.json())))
    return Mixture(goods, large, Maker(seed, Sender(server.key, feature)), random.Random(f"soak {seed}"))


async def capacity(server: Server, mixed: Mixture, seconds: float) -> float:
    """Requests of this mixture a second, good and bad, by clients that never pause."""
    end = time.perf_counter() + seconds
    numbers = itertools.count(1_000_000)
    done = 0

    async def client() -> None:
        nonlocal done
        idle: list[Connection] = []
        while time.perf_counter() < end:
            await _ask(Address.of(server.url), mixed, next(numbers), Soaked(), idle)
            done += 1
        for connection in idle:
            connection.close()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CLIENTS):
            tasks.create_task(client())
    return done / seconds


async def soak(server: Server, mixed: Mixture, *, rate: float, seconds: float) -> Soaked:
    """Arrivals at random times (a Poisson process) of this rate."""
    soaked, idle = Soaked(), list[Connection]()
    start = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        sampler = tasks.create_task(_sample(server, start, soaked))
        due = start
        for number in itertools.count():
            due += mixed.rng.expovariate(rate)
            if due > start + seconds:
                break
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.create_task(_ask(Address.of(server.url), mixed, number, soaked, idle))
        sampler.cancel()
    for connection in idle:
        connection.close()
    soaked.good.lasted_s = seconds
    soaked.samples.append((time.perf_counter() - start, usage(pid(server))))
    return soaked


async def _ask(address: Address, mixed: Mixture, number: int, soaked: Soaked, idle: list[Connection]) -> None:
    good, case, large = mixed.next(number)
    if good is not None:
        connection = idle.pop() if idle else Connection(address)
        (soaked.large if large else soaked.good).add(await connection.ask(good.request), good, within=True)
        idle.append(connection)
    if case is not None:
        soaked.bad += 1
        connection = Connection(address)
        if case.left:
            await connection.send_and_leave(case.sent)
            return
        answer = await connection.ask(case.sent)
        connection.close()
        soaked.refused += answer.status == 429
        if answer.status not in case.statuses | {429} and not (answer.status == 0 and case.may_be_cut):
            soaked.faults.append(f"{number} ({case.kind}): {answer.status or 'no answer'}")


async def _sample(server: Server, start: float, soaked: Soaked) -> None:
    while True:
        taken = await asyncio.to_thread(usage, pid(server))
        soaked.samples.append((time.perf_counter() - start, taken))
        await asyncio.sleep(SAMPLE_S)


def measure(server: Server, told: Report, *, minutes: float, seed: int) -> None:
    part = f"{minutes:g} minutes"
    told.tell(part, "PSS after the start, MiB", usage(pid(server)).pss_mib)
    mixed = asyncio.run(mixture(server, seed))
    full = asyncio.run(capacity(server, mixed, min(20.0, 60 * minutes / 4)))
    with HealthProbe(Address.of(server.url)) as health:
        soaked = asyncio.run(soak(server, mixed, rate=SHARE * full, seconds=60 * minutes))
    time.sleep(SAMPLE_S / 2)
    rest = usage(pid(server))
    told.tell(part, "capacity, requests a second", full)
    told.tell(part, "seed", str(seed))
    told.tell(part, "bad ones", f"{soaked.bad}, {soaked.refused} of them answered 429")
    told.at_most(part, "bad ones answered as they must not be", len(soaked.faults), 0)
    for line in soaked.faults[:10]:
        told.tell(part, "such a case", line)
    for name, tally in (("good ones", soaked.good), ("large ones", soaked.large)):
        told.tell(part, name, tally.text() or "none")
        others = sum(n for status, n in tally.statuses.items() if status not in (200, 429))
        told.at_most(part, f"{name} answered neither 200 nor 429", others, 0)
        told.at_most(part, f"{name} answered wrong", len(tally.wrong), 0)
        told.tell(part, f"{name} p99, ms", tally.ms(99))
    _tell_memory(told, part, soaked, rest, minutes)
    health.tell(told, part)


def _tell_memory(told: Report, part: str, soaked: Soaked, rest: Usage, minutes: float) -> None:
    warm = [each for each in soaked.samples if each[0] >= WARM_UP * 60 * minutes]
    pss = [each.pss_mib for _, each in warm]
    first, last = (percentile(half, 50) for half in (pss[: max(1, len(pss) // 5)], pss[-max(1, len(pss) // 5) :]))
    told.tell(part, "PSS as the soak began, MiB", soaked.samples[0][1].pss_mib)
    told.tell(part, "PSS after the warm-up, median, MiB", first)
    told.tell(part, "PSS at the end, median, MiB", last)
    told.tell(part, "PSS at the most, MiB", max(each.pss_mib for _, each in soaked.samples))
    told.tell(part, "PSS and RSS at rest, MiB", f"{rest.pss_mib:.0f} and {rest.rss_mib:.0f}")
    told.tell(part, "PSS after the warm-up, by process, MiB", warm[0][1].by_service())
    told.tell(part, "PSS at rest, by process, MiB", rest.by_service())
    told.at_most(part, "PSS up since the warm-up, MiB", last - first, MOST_MIB)
    slope_per_h = 3600 * slope([at for at, _ in warm], pss)
    if minutes >= SLOPE_MINUTES:
        told.at_most(part, "PSS slope, MiB an hour", slope_per_h, MOST_MIB_PER_H)
    else:
        told.tell(part, "PSS slope, MiB an hour", slope_per_h)
    for name, values in (
        ("open files", [each.files for _, each in warm] + [rest.files]),
        ("threads", [each.threads for _, each in warm] + [rest.threads]),
    ):
        told.tell(part, f"{name}, first, most, at rest", f"{values[0]}, {max(values)}, {values[-1]}")
    told.at_most(part, "threads up at rest", rest.threads - warm[0][1].threads, 4)


def main() -> None:
    parser = report.options(__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=4)
    given = parser.parse_args()
    told = Report("bench.soak")
    with serving() as server:
        measure(server, told, minutes=0.5 if given.quick else given.minutes, seed=given.seed)
    told.finish(given.json)


if __name__ == "__main__":
    main()
