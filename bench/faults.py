"""Parts of the service killed under load, models that are damaged or missing, a full disk, clients that go away.

python -m bench.faults [--part PART] [--times 2]
"""

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import disk, known, report
from bench.client import Address, Connection, encode, head
from bench.known import Known
from bench.load import Tally, burst, closed_loop
from bench.report import Report
from bench.serving import pid, prepared, serving
from bench.usage import usage
from models.catalog import describe
from tests.e2e.running import Server

CLIENTS = 8
TOLD_WITHIN_S = 5  # /readyz, of a killed runner
BACK_WITHIN_S = 30
DEADLINE_S = 30
POLL_S = 0.05
IN_FLIGHT = 40  # at SIGTERM
GONE = 100  # uploads cut half-way
REFUSED_WITHIN_S = 30
READYZ = encode("GET", "/readyz")


@dataclass
class Watched:
    """What /readyz said, and when a lone client was answered again, in seconds since the fault."""

    not_ready_s: float | None = None
    answered_s: float | None = None
    ready: bool = False  # at the end


@dataclass
class Run:
    told: Report
    times: int
    seconds: float  # of load around a fault
    part: str = ""


def _kill(run: Run, service: str) -> None:
    """SIGKILL for one process under load."""
    for turn in range(run.times):
        with serving() as server:
            goods = asyncio.run(known.learn(server))
            tally, watched = asyncio.run(_killed(server, service, goods, run.seconds))
        told, part = run.told, f"{run.part} {turn + 1}"
        told.tell(part, "/readyz first said 503 (or nothing), s", _seconds(watched.not_ready_s))
        if watched.not_ready_s is not None:
            told.at_most(part, "/readyz told it within, s", watched.not_ready_s, TOLD_WITHIN_S)
        told.at_most(part, "answers again after, s", watched.answered_s or float("inf"), BACK_WITHIN_S)
        told.holds(part, "/readyz at the end", str(watched.ready), wanted="True", reached=watched.ready)
        told.tell(part, "answers", tally.text())
        told.tell(part, "200s p99, ms", tally.ms(99))
        told.at_most(part, "longest request, s", tally.longest_s, DEADLINE_S + 1)
        told.at_most(part, "wrong answers", len(tally.wrong), 0)
        # A killed API process takes its connections with it.
        allowed = {200, 503, 0} if service == "facebento" else {200, 503}
        others = {status: n for status, n in tally.statuses.items() if status not in allowed}
        told.at_most(part, "other answers", sum(others.values()), 0)


async def _killed(server: Server, service: str, goods: list[Known], seconds: float) -> tuple[Tally, Watched]:
    address, watched = Address.of(server.url), Watched()
    load = asyncio.create_task(closed_loop(address, goods, clients=CLIENTS, seconds=seconds))
    await asyncio.sleep(min(3.0, seconds / 4))
    victim = server.worker(service)
    victim.kill()
    killed_at = time.perf_counter()
    lone = asyncio.create_task(_answered_again(address, goods, killed_at, watched))
    while not load.done() or (watched.answered_s is None and time.perf_counter() - killed_at < BACK_WITHIN_S):
        probe = Connection(address)
        ready = (await probe.ask(READYZ)).status == 200
        probe.close()
        watched.ready = ready
        if not ready and watched.not_ready_s is None:
            watched.not_ready_s = time.perf_counter() - killed_at
        await asyncio.sleep(POLL_S)
    lone.cancel()
    return await load, watched


async def _answered_again(address: Address, goods: list[Known], since: float, watched: Watched) -> None:
    """Asks for what needs both models; only requests that began after the fault count, and the first 200 ends it."""
    good = known.named(goods, "embeddings")
    while watched.answered_s is None:
        connection = Connection(address)
        answer = await connection.ask(good.request)
        connection.close()
        if answer.status == 200:
            watched.answered_s = time.perf_counter() - since
        await asyncio.sleep(POLL_S)


def detector_killed(run: Run) -> None:
    _kill(run, "detector")


def embedder_killed(run: Run) -> None:
    _kill(run, "embedder")


def api_killed(run: Run) -> None:
    _kill(run, "facebento")


def sigterm(run: Run) -> None:
    """SIGTERM for the supervisor with many requests in work."""
    for turn in range(run.times):
        with serving() as server:
            goods = asyncio.run(known.learn(server))
            tally = asyncio.run(_terminated(server, goods))
            assert server.process is not None
            status = server.process.wait(60)
        part = f"{run.part} {turn + 1}"
        run.told.tell(part, f"answers to {IN_FLIGHT} in flight", tally.text())
        run.told.at_most(part, "lost", IN_FLIGHT - tally.statuses[200] - tally.statuses[429], 0)
        run.told.tell(part, "refused with 429 before the signal", tally.statuses[429])
        run.told.tell(part, "the last was answered after, s", tally.lasted_s)
        run.told.at_most(part, "wrong answers", len(tally.wrong), 0)
        run.told.at_most(part, "exit status", status, 0)


async def _terminated(server: Server, goods: list[Known]) -> Tally:
    assert server.process is not None
    asyncio.get_running_loop().call_later(0.7, server.process.send_signal, signal.SIGTERM)
    return await burst(Address.of(server.url), [known.named(goods, "embeddings")], IN_FLIGHT)


def clients_gone(run: Run) -> None:
    """Uploads cut half-way. The limit on requests in work is low: one that is not given back would show as 429."""
    with serving(FACEBENTO_MAX_IN_FLIGHT="4") as server:
        goods = asyncio.run(known.learn(server))
        before = usage(pid(server))
        tally = asyncio.run(gone(server, goods))
        time.sleep(2)
        after = usage(pid(server))
    tell_gone(run.told, run.part, tally)
    run.told.at_most(run.part, "open files up", after.files - before.files, 4)
    run.told.tell(run.part, "PSS up, MiB", after.pss_mib - before.pss_mib)


async def gone(server: Server, goods: list[Known]) -> Tally:
    """GONE uploads cut, four at a time; then four good requests, one after the other."""
    address = Address.of(server.url)
    headers = [("x-api-key", server.key), ("Content-Type", "application/json"), ("Content-Length", "1000000")]
    start = head("POST", "/v1/detect", headers)
    for _ in range(GONE // 4):
        leaving = [Connection(address) for _ in range(4)]
        for connection in leaving:
            await connection.send_and_leave(start + b'{"image": "' + b"A" * 100_000)
    return await closed_loop(address, goods, clients=1, seconds=1, patient=False)


def tell_gone(told: Report, part: str, tally: Tally) -> None:
    told.tell(part, f"answers after {GONE} uploads cut", tally.text())
    told.at_most(part, "answers but 200", sum(tally.statuses.values()) - tally.statuses[200], 0)


def damaged_models(run: Run) -> None:
    """A bit changed, a file missing, in a copy of the store. The start must be refused, and say why."""
    for model in ("centerface", "dlib-resnet-v1"):
        with _own_store() as server:
            path = _graph(server.home, model)
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 0x10
            path.write_bytes(data)
            _refused(run, server, f"one bit of {model} changed", ("damaged", model))
        with _own_store() as server:
            shutil.rmtree(server.home / "models" / model)
            _refused(run, server, f"{model} missing", ("not in the store", model))
        with _own_store() as server:
            _graph(server.home, model).unlink()
            _refused(run, server, f"{model}'s graph missing", (model,))


@contextlib.contextmanager
def _own_store() -> Iterator[Server]:
    """A server, not started, with a copy of the models: never the user's."""
    with prepared(FACEBENTO_API_KEYS="bench") as server:
        (server.folder / ".env").write_text("FACEBENTO_API_KEYS=bench\n", encoding="utf-8")
        models = server.home / "models"
        theirs = models.resolve()
        models.unlink()
        shutil.copytree(theirs, models, symlinks=False)
        yield server


def _graph(home: Path, model: str) -> Path:
    return home / "models" / model / describe(model).version / "model.onnx"


def no_gpu(run: Run) -> None:
    """CUDA asked for and absent: a device that no machine has."""
    with prepared(FACEBENTO_DEVICE="cuda:99", FACEBENTO_API_KEYS="bench") as server:
        _refused(run, server, "cuda:99", ("cuda:99",))


def _refused(run: Run, server: Server, what: str, words: tuple[str, ...]) -> None:
    started = time.perf_counter()
    status = disk.start(server, REFUSED_WITHIN_S)
    seconds = time.perf_counter() - started
    output = server.output
    message = next((line for line in output.splitlines() if all(word in line for word in words)), "")
    run.told.holds(
        run.part,
        f"{what}: exit status",
        "it runs" if status is None else f"{status} after {seconds:.1f} s",
        wanted="not 0",
        reached=bool(status),
    )
    said = message[:160] or output[-160:]
    run.told.holds(run.part, f"{what}: it says", said, wanted=", ".join(words), reached=bool(message))
    traceback = "Traceback" in output
    run.told.holds(run.part, f"{what}: traceback", str(traceback), wanted="False", reached=not traceback)
    server.kill()


def full_disk(run: Run) -> None:
    """A scratch with little room, and one that fills up under load."""
    if os.geteuid() != 0:
        run.told.tell(run.part, "skipped", "a tmpfs can be mounted by root alone")
        return
    disk.small(run.told, run.part)
    disk.filled(run.told, run.part, clients=CLIENTS, seconds=run.seconds)


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f}"


PARTS: dict[str, Callable[[Run], None]] = {
    "detector-killed": detector_killed,
    "embedder-killed": embedder_killed,
    "api-killed": api_killed,
    "sigterm": sigterm,
    "clients-gone": clients_gone,
    "damaged-models": damaged_models,
    "no-gpu": no_gpu,
    "full-disk": full_disk,
}


def main() -> None:
    parser = report.options(__doc__, parts=list(PARTS))
    parser.add_argument("--times", type=int, default=2, help="each process is killed, and the whole stopped, so often")
    given = parser.parse_args()
    run = Run(Report("bench.faults"), 1 if given.quick else given.times, 12 if given.quick else 20)
    for part in given.part or PARTS:
        run.part = part
        PARTS[part](run)
    run.told.finish(given.json)


if __name__ == "__main__":
    main()
