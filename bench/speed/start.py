"""The way from nothing to the first answer, and what the service takes while it does nothing."""

import secrets
import time

from bench.serving import pid, prepared
from bench.speed.figures import Spread
from bench.speed.results import Rows, Table
from bench.speed.run import Plan
from bench.usage import Usage, cpu_seconds, usage

STARTS = 3
IDLE_S = 2
WANTED_S = 5
WANTED_MIB = 800


def starts(plan: Plan) -> None:
    """To be run while no other server does: pages that processes share count for each of them in part."""
    rows: Rows = []
    for name, settings in plan.variants.items():
        measured = [_start(dict(settings)) for _ in range(1 if plan.quick else STARTS)]
        seconds = Spread.of([ready for ready, _, _ in measured])
        cpu = Spread.of([cpu for _, cpu, _ in measured])
        idle = measured[-1][2]
        part = "start" + (f", {name}" if len(plan.variants) > 1 else "")
        plan.results.report.at_most(part, "from its process's start to ready, median, s", seconds.median, WANTED_S)
        plan.results.report.at_most(part, "PSS idle, all processes, MiB", idle.pss_mib, WANTED_MIB)
        rows.append([name, seconds.text(1), cpu.text(1), idle.pss_mib, idle.rss_mib, idle.by_service(), idle.threads])
    columns = ["settings", "ready after s", "CPU s", "PSS MiB", "RSS MiB", "PSS by process", "threads"]
    title = f"`bentoml serve` with models in the store: median (least to most) of {len(measured)} starts"
    plan.results.add(Table("start", title, columns, rows, "RSS counts pages that processes share once for each."))


def _start(settings: dict[str, str]) -> tuple[float, float, Usage]:
    """Seconds until /readyz answers 200, CPU seconds until then, and what is used when nothing happens."""
    settings["FACEBENTO_API_KEYS"] = secrets.token_urlsafe(32)
    with prepared(**settings) as server:
        began = time.perf_counter()
        server.run("bentoml", "serve", "service:FaceService", "--port", server.url.rpartition(":")[2])
        server.wait_ready()
        seconds, cpu = time.perf_counter() - began, cpu_seconds(pid(server))
        time.sleep(IDLE_S)
        return seconds, cpu, usage(pid(server))
