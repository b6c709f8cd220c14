"""The service against what its device could do: the engines at their best, or the host's cores as they decode."""

from bench.speed.curves import CROWDED
from bench.speed.engines import engines
from bench.speed.pictures import body, one_face
from bench.speed.results import Rows, Table
from bench.speed.run import Run
from bench.speed.service import EMBEDDINGS, JOBS, Job
from tests.e2e.running import HTTP, batch_sizes

WANTED_ON_GPU = 0.7


def against_device(run: Run) -> None:
    picture = one_face()
    if not any(name.startswith("engine, ") for name in run.results.rounds):
        engines(run)
    rows: Rows = []
    for job in JOBS:
        engine = _engine(run, job)
        for clients in run.sizes(run.clients):
            for service in run.services:
                host = run.ceiling.run("look", picture, run.seconds / 4).rate
                got = service.load(job, body(picture), clients=clients, seconds=run.seconds, crowded=True)
                host = (host + run.ceiling.run("look", picture, run.seconds / 4).rate) / 2
                ratio = got.rate / min(engine, host)
                told = [got.rate, engine, host, ratio, got.ms(50), got.ms(99), got.cpu_ms, got.refused]
                rows.append([job.name, service.name, clients, *told])
        for service in run.services:
            best = max(float(row[6]) for row in rows if row[:2] == [job.name, service.name])
            part = f"{job.name}, {service.name}, the better number of clients"
            run.results.report.at_least(part, "of the smaller of engines and decoding", best, WANTED_ON_GPU)
    columns = ["job", "settings", "clients", "service /s", "engines /s", "decoding /s", "ratio", "p50 ms", "p99 ms"]
    note = (
        "Engines: each at its best batch size, one after the other on one device. Decoding: all cores of the host, "
        "which also draw the canvas, and have nothing else to do. The ratio is to the smaller one. "
        f"{CROWDED}"
    )
    run.results.add(Table("device", "The service against its device", [*columns, "CPU ms", "429s"], rows, note))


def batches(run: Run) -> None:
    """How large batches get under load."""
    picture = one_face()
    rows: Rows = []
    for service in run.services:
        for clients in run.sizes(run.clients):
            before = _counts(service.server.url)
            service.load(EMBEDDINGS, body(picture), clients=clients, seconds=run.seconds, crowded=True)
            after = _counts(service.server.url)
            for method in ("detect", "embed"):
                sizes = grown(before[method], after[method])
                told = ", ".join(f"{share:.0%} <= {bound}" for bound, share in sizes.items())
                rows.append([service.name, clients, method, told or "no batches: the models run in the API's process"])
    columns = ["settings", "clients", "method", "share of the batches by their size"]
    run.results.add(Table("batches", "Batches under load, /v1/embeddings", columns, rows))


def grown(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Of the batches that were run in between, the share in each class of sizes: its upper bound -> share.

    before, after: upper bound -> how many batches were at most this large, in rising order.
    """
    new = [(bound, count - before.get(bound, 0.0)) for bound, count in after.items()]
    every = new[-1][1] if new else 0.0
    lower = [0.0, *(count for _, count in new)]
    return {
        bound.removesuffix(".0"): (count - below) / every
        for (bound, count), below in zip(new, lower, strict=False)
        if every and count > below
    }


def _counts(url: str) -> dict[str, dict[str, float]]:
    metrics = HTTP.get(f"{url}/metrics").text
    return {method: batch_sizes(metrics, method) for method in ("detect", "embed")}


def _engine(run: Run, job: Job) -> float:
    """Pictures a second, where the engines take turns on one device."""
    roles = ("detector", "embedder") if job is EMBEDDINGS else ("detector",)
    return 1 / sum(1 / float(run.results.rounds[f"engine, {role}, at best"]) for role in roles)
