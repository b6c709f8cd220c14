"""Thousands of mixed bad inputs at once with good ones: nothing may break, and nothing may be left behind.

python -m bench.bad_inputs [--count 10000] [--seed 4] [--show NUMBER]
"""

import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench import hostile_pictures, known, report
from bench.cases import Case, Sender
from bench.client import NO_ANSWER, Address, Answer, Connection
from bench.hostile import Maker
from bench.known import Known
from bench.load import Tally, closed_loop
from bench.probe import HealthProbe
from bench.report import Report
from bench.serving import pid, serving
from bench.usage import usage
from tests.e2e.running import Server

CLIENTS = 16
GOOD_SHARE = 0.05
SHOWN = 20  # cases of one fault that are told; the rest are counted
MOST_MIB = 50
MOST_HEALTH_S = 0.1
LEAST_PROBES = 300  # of fewer, the 99th percentile is hardly more than the longest


@dataclass
class Outcome:
    statuses: Counter[int] = field(default_factory=Counter)  # of the bad ones
    left: int = 0  # clients that did not wait
    cut: int = 0  # answers lost while the client still sent what was refused
    faults: list[str] = field(default_factory=list)  # 5xx, no answer, a status that the case must not have
    errors: int = 0  # the 5xx among them
    good: Tally = field(default_factory=Tally)
    longest_s: float = 0.0
    longest: str = ""

    def add(self, number: int, case: Case, answer: Answer) -> None:
        self.statuses[answer.status] += 1
        if answer.seconds > self.longest_s:
            self.longest_s, self.longest = answer.seconds, f"{number}, {case.kind}"
        if answer.status == NO_ANSWER and case.may_be_cut:
            self.cut += 1
        elif answer.status not in case.statuses | {429}:
            self.errors += answer.status >= 500
            self.faults.append(f"case {number} ({case.kind}): {answer.status or 'no answer'} {answer.body[:120]!r}")


async def attack(server: Server, goods: Sequence[Known], *, count: int, seed: int) -> Outcome:
    """`count` bad inputs by CLIENTS clients, and good ones in between, on connections that stay open."""
    maker = Maker(seed, Sender(server.key, known.named(goods, "feature").right["feature"]))
    address, outcome = Address.of(server.url), Outcome()
    numbers = iter(range(count))
    start = time.perf_counter()

    async def client(which: int) -> None:
        steady = Connection(address)
        rng = random.Random(f"{seed}:client {which}")
        for number in numbers:
            if rng.random() < GOOD_SHARE / (1 - GOOD_SHARE):
                good = rng.choice(goods)
                outcome.good.add(await steady.ask(good.request), good, within=True)
            case = maker.case(number)
            connection = Connection(address)
            if case.left:
                await connection.send_and_leave(case.sent)
                outcome.left += 1
            else:
                outcome.add(number, case, await connection.ask(case.sent))
                connection.close()
        steady.close()

    async with asyncio.TaskGroup() as tasks:
        for which in range(CLIENTS):
            tasks.create_task(client(which))
    outcome.good.lasted_s = time.perf_counter() - start
    return outcome


def measure(server: Server, told: Report, *, count: int, seed: int, pause_s: float) -> None:
    hostile_pictures.make_all()
    goods = asyncio.run(known.learn(server))
    part = f"{count} bad inputs"
    told.tell(part, "PSS after the start, MiB", usage(pid(server)).pss_mib)
    asyncio.run(closed_loop(Address.of(server.url), goods, clients=CLIENTS, seconds=pause_s))
    time.sleep(pause_s / 2)
    before = usage(pid(server))
    with HealthProbe(Address.of(server.url)) as health:
        outcome = asyncio.run(attack(server, goods, count=count, seed=seed))
    time.sleep(pause_s)
    after = usage(pid(server))
    for line in outcome.faults[:SHOWN]:
        sys.stderr.write(f"    {line}\n")
    told.tell(part, "seed", str(seed))
    told.tell(part, "took, s", outcome.good.lasted_s)
    statuses = ", ".join(f"{n} x {status or 'no answer'}" for status, n in sorted(outcome.statuses.items()))
    told.tell(part, "answers to bad ones", f"{statuses}; {outcome.left} did not wait")
    told.at_most(part, "5xx to bad ones", outcome.errors, 0)
    told.at_most(part, "other faults of bad ones", len(outcome.faults) - outcome.errors, 0)
    told.tell(part, "answers cut off while refused bodies came", outcome.cut)
    told.tell(part, "longest", f"{outcome.longest_s:.2f} s: case {outcome.longest}")
    told.tell(part, "answers to good ones", outcome.good.text())
    others = sum(n for status, n in outcome.good.statuses.items() if status not in (200, 429))
    told.at_most(part, "good ones answered neither 200 nor 429", others, 0)
    told.at_most(part, "good ones answered wrong", len(outcome.good.wrong), 0)
    told.tell(part, "good ones p99, ms", outcome.good.ms(99))
    told.tell(part, "PSS before and after, MiB", f"{before.pss_mib:.0f} and {after.pss_mib:.0f}")
    told.tell(part, "RSS before and after, MiB", f"{before.rss_mib:.0f} and {after.rss_mib:.0f}")
    told.tell(part, "PSS before, by process, MiB", before.by_service())
    told.tell(part, "PSS after, by process, MiB", after.by_service())
    told.at_most(part, "PSS up, MiB", after.pss_mib - before.pss_mib, MOST_MIB)
    told.at_most(part, "open files up", after.files - before.files, CLIENTS)
    health.tell(told, part, limit_s=MOST_HEALTH_S if len(health.seconds) >= LEAST_PROBES else None)


def main() -> None:
    parser = report.options(__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument(
        "--show", type=int, metavar="NUMBER", help="make this case alone, and print what was sent and answered"
    )
    given = parser.parse_args()
    told = Report("bench.bad_inputs")
    with serving() as server:
        if given.show is not None:
            asyncio.run(_show(server, given.seed, given.show))
            return
        count, pause_s = (500, 2.0) if given.quick else (given.count, 10.0)
        measure(server, told, count=count, seed=given.seed, pause_s=pause_s)
    told.finish(given.json)


async def _show(server: Server, seed: int, number: int) -> None:
    goods = await known.learn(server)
    case = Maker(seed, Sender(server.key, known.named(goods, "feature").right["feature"])).case(number)
    connection = Connection(Address.of(server.url))
    print(f"{case.kind}: {len(case.sent)} bytes, {case.sent.replace(server.key.encode(), b'KEY')[:600]!r}")
    if case.left:
        await connection.send_and_leave(case.sent)
        return
    answer = await connection.ask(case.sent)
    connection.close()
    print(f"{answer.status} in {answer.seconds:.3f} s: {answer.body[:600]!r}", server.output[-3000:], sep="\n")


if __name__ == "__main__":
    main()
