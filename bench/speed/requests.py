"""One request: how long it takes, what it costs, and where its time goes."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from bench.speed.pictures import body, one_face
from bench.speed.results import Cell, Rows, Table
from bench.speed.run import Run
from bench.speed.service import JOBS, Job, Loaded

CLIENTS = (1, 16)
LONGER = 2  # than other measurements: the 99.9th percentile is of a thousand
STAGES = ("receive", "wait", "memory", "queue", "decode", "detect", "align", "embed", "encode")


def requests(run: Run) -> None:
    picture = one_face()
    costs: Rows = []
    stages: Rows = []
    for job in JOBS:
        stages.append([job.name, "no server", 1, *_without(run, job, picture)])
        for service in run.services:
            for clients in CLIENTS:
                got = service.load(job, body(picture), clients=clients, seconds=LONGER * run.seconds)
                costs.append([job.name, service.name, clients, *_cost(got)])
                stages.append([job.name, service.name, clients, *where(got.lines, fmean(got.latencies))])
    columns = ["job", "settings", "clients", "answers", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "CPU ms", "PSS MiB"]
    note = "CPU: of all processes of the service, for each answer. PSS: of all of them, under that load."
    run.results.add(Table("requests", "What a request takes", columns, costs, note))
    note = (
        "Means, ms. The stages are the access log's; between: of its duration in none of them; around: of the "
        "client's latency outside it. Without a server detect and embed are what their methods take beyond the step "
        "before, and hold suppression and alignment."
    )
    columns = ["job", "settings", "clients", *STAGES, "between", "around", "all"]
    run.results.add(Table("stages", "Where the time of one request goes", columns, stages, note))


def where(lines: Sequence[Mapping[str, Any]], latency_ms: float) -> list[Cell]:
    """Means of the stages of those requests, in ms; then what lies between and around them, and all.

    lines: of the access log. latency_ms: the mean of what clients saw.
    """
    if not lines:
        raise ValueError("the log tells of no request")
    means = [fmean(line["stages_ms"].get(name, 0.0) for line in lines) for name in STAGES]
    duration = fmean(line["duration_ms"] for line in lines)
    return [*means, duration - sum(means), latency_ms - duration, latency_ms]


def _cost(got: Loaded) -> list[Cell]:
    percentiles = [got.ms(percent) for percent in (50, 90, 99, 99.9)]
    return [got.answers, *percentiles, got.cpu_ms, got.usage.pss_mib]


def _without(run: Run, job: Job, picture: bytes) -> list[Cell]:
    """As `where`, of one process without a server."""
    jobs = ("look", "detect", "embeddings")
    times = {name: fmean(run.ceiling.run(name, picture, run.seconds / 4, processes=1).latencies) for name in jobs}
    told = {"decode": times["look"], "detect": times["detect"] - times["look"]}
    if job.name == "embeddings":
        told["embed"] = times["embeddings"] - times["detect"]
    return [*(told.get(name, 0.0) for name in STAGES), 0.0, 0.0, times[job.name]]
