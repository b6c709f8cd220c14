"""The service against the ceiling, and one client against no server: in turns, so that both see the same machine."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from bench.speed.figures import Spread, against_neighbours
from bench.speed.pictures import body, one_face
from bench.speed.results import Cell, Rows, Table
from bench.speed.run import Run
from bench.speed.service import JOBS, Job, Loaded, Service
from bench.usage import OthersMeter

T = TypeVar("T")

CLIENTS = 16
ALONE = 0.5  # of the seconds: latencies of one client need fewer
WANTED_OF_CEILING = {"centerface": 0.85, "yunet-2023mar": 0.75}
LEAST_OF_CEILING = 0.75  # with any other detector
WANTED_P99_OVER_P50 = 2.0
WANTED_ALONE = 1.1


def against_ceiling(run: Run) -> None:
    """The rates of 16 clients over those of all cores without a server."""
    picture = one_face()
    wanted = WANTED_OF_CEILING.get(run.detector[0].id, LEAST_OF_CEILING)
    rows: Rows = []
    for job in JOBS:

        def ceiling(job: Job = job) -> float:
            return run.ceiling.run(job.name, picture, run.seconds).rate

        def loaded(service: Service, job: Job = job) -> Loaded:
            return service.load(job, body(picture), clients=CLIENTS, seconds=run.seconds)

        between, measured, others = _in_turns(run, ceiling, loaded)
        values = {service.name: [each.rate for each in of] for service, of in measured.items()}
        ratios = _ratios(run, values, between)
        for service, of in measured.items():
            ratio = Spread.of(ratios[service.name])
            tail = Spread.of([each.ms(99) / each.ms(50) for each in of])
            part = f"{job.name}, {CLIENTS} clients{_named(run, service)}"
            report = run.results.report
            report.at_least(part, "of the ceiling, median", ratio.median, wanted)
            report.at_most(part, "p99 over p50, median", tail.median, WANTED_P99_OVER_P50)
            rates = Spread.of(values[service.name])
            told: list[Cell] = [
                Spread.of(between).text(1),
                rates.text(1),
                ratio.text(),
                tail.text(),
                Spread.of(others).text(),
            ]
            rows.append([job.name, service.name, *told])
        rounds = {"ceiling": between, "service": values, "ratio": ratios, "others": others}
        run.results.rounds[f"ceiling, {job.name}"] = rounds
    columns = ["job", "settings", "ceiling /s", "service /s", "service / ceiling", "p99 / p50", "others, cores"]
    title = f"{CLIENTS} clients against the ceiling: median (least to most) of {run.rounds} rounds"
    note = "others, cores: what the machine did besides, which disturbs the figures."
    run.results.add(Table("ceiling", title, columns, rows, note))


def alone(run: Run) -> None:
    """The latency of one client over that of the same work in one process."""
    picture = one_face()
    seconds = max(1.0, ALONE * run.seconds)
    rows: Rows = []
    for job in JOBS:

        def local(job: Job = job) -> float:
            return run.ceiling.run(job.name, picture, seconds, processes=1).ms(50)

        def loaded(service: Service, job: Job = job) -> Loaded:
            return service.load(job, body(picture), clients=1, seconds=seconds)

        between, measured, _ = _in_turns(run, local, loaded)
        values = {service.name: [each.ms(50) for each in of] for service, of in measured.items()}
        ratios = _ratios(run, values, between)
        for service in run.services:
            ratio = Spread.of(ratios[service.name])
            part = f"{job.name}, 1 client{_named(run, service)}"
            run.results.report.at_most(part, "p50 over that of no server, median", ratio.median, WANTED_ALONE)
            served = Spread.of(values[service.name])
            rows.append([job.name, service.name, Spread.of(between).text(1), served.text(1), ratio.text()])
        run.results.rounds[f"alone, {job.name}"] = {"no server": between, "service": values, "ratio": ratios}
    columns = ["job", "settings", "no server, ms", "service, ms", "service / no server"]
    title = f"One client against one process without a server, p50: median (least to most) of {run.rounds} rounds"
    run.results.add(Table("alone", title, columns, rows))


def _in_turns(
    run: Run, ceiling: Callable[[], float], loaded: Callable[[Service], Loaded]
) -> tuple[list[float], dict[Service, list[Loaded]], list[float]]:
    """ceiling, service, ceiling, service, ..., ceiling; and the cores that others took in each of these, in order."""
    others = []

    def watched(measure: Callable[[], T]) -> T:
        meter = OthersMeter()
        value = measure()
        others.append(meter.cores())
        return value

    between = [watched(ceiling)]
    measured: dict[Service, list[Loaded]] = {service: [] for service in run.services}
    for _ in range(run.rounds):
        for service in run.services:
            measured[service].append(watched(partial(loaded, service)))
            between.append(watched(ceiling))
    return between, measured, others


def _ratios(run: Run, values: dict[str, list[float]], between: list[float]) -> dict[str, list[float]]:
    in_order = [values[service.name][number] for number in range(run.rounds) for service in run.services]
    ratios = against_neighbours(in_order, between)
    return {service.name: ratios[number :: len(run.services)] for number, service in enumerate(run.services)}


def _named(run: Run, service: Service) -> str:
    return f", {service.name}" if len(run.services) > 1 else ""
