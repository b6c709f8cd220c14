"""A scratch without room: at the start, and while it serves. A tmpfs stands in for the disk; takes root."""

import asyncio
import contextlib
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx

from bench import known
from bench.client import Address, Connection, encode
from bench.load import closed_loop
from bench.report import Report
from bench.serving import prepared
from tests.e2e.running import Server

SIZES_MB = (0, 1, 16, 70)  # 0: full before the start
ROOM_MB = 100  # of one that fills up while it serves
SCANNED = 1000  # paths that nobody serves, each with lines of its own among BentoML's metrics, on that disk
START_S = 30
DEADLINE_S = 30
READY = "facebento is ready"


def start(server: Server, seconds: float) -> int | None:
    """`facebento serve`. Its exit status; None if it has announced itself, or does nothing until the time is over."""
    server.run("facebento", "serve", "--port", server.url.rpartition(":")[2])
    assert server.process is not None
    end = time.monotonic() + seconds
    while time.monotonic() < end and READY not in server.output:
        status = server.process.poll()
        if status is not None:
            return status
        time.sleep(0.05)
    return None


def small(told: Report, part: str) -> None:
    """Either it refuses to start, in words, or it starts and answers right; nothing between."""
    for variable in ("TMPDIR", "BENTOML_HOME"):
        for size in SIZES_MB:
            with _on_a_disk(variable, size or 1) as (server, folder):
                if size == 0:
                    _fill(folder / "ballast")
                status = start(server, START_S)
                runs = READY in server.output
                if runs:
                    what = f"runs, answers {(answer := _answers(server))}"
                    sound = answer == "200"
                else:
                    lines = server.output.strip().splitlines() or [""]
                    what = f"{'hangs' if status is None else f'exit status {status}'}: {lines[-1][:100]}"
                    sound = bool(status) and "full" in lines[-1] and "Traceback" not in server.output
                told.holds(part, f"{variable} of {size} MB", what, wanted="200, or refused in a line", reached=sound)


def filled(told: Report, part: str, *, clients: int, seconds: float) -> None:
    """Filled to the last byte under load; a runner is killed meanwhile; then there is room again."""
    for variable in ("TMPDIR", "BENTOML_HOME"):
        with _on_a_disk(variable, ROOM_MB) as (server, folder):
            name = f"{variable} filled under load"
            if start(server, START_S) is not None or READY not in server.output:
                told.holds(part, name, "it does not start", wanted="it runs", reached=False)
                continue
            address = Address.of(server.url)
            goods = asyncio.run(known.learn(server))
            ballast = folder / "ballast"
            _fill(ballast)
            tally = asyncio.run(closed_loop(address, goods, clients=clients, seconds=seconds / 2))
            told.tell(part, f"{name}: answers", tally.text())
            others = sum(n for status, n in tally.statuses.items() if status not in (200, 429, 503))
            told.at_most(part, f"{name}: answers but 200, 429, 503", others, 0)
            told.at_most(part, f"{name}: wrong answers", len(tally.wrong), 0)
            scanned = asyncio.run(_scan(address))
            told.tell(part, f"{name}: answers to a scanner", ", ".join(f"{n} x {s}" for s, n in scanned.items()))
            told.at_most(part, f"{name}: answers to it but 404", SCANNED - scanned[404], 0)
            _tell_state(told, part, name, server)
            with contextlib.suppress(LookupError):  # it is gone already
                server.worker("detector").kill()
            tally = asyncio.run(closed_loop(address, goods, clients=clients, seconds=seconds / 2))
            told.tell(part, f"{name}, a runner killed: answers", tally.text())
            told.at_most(part, f"{name}, a runner killed: longest request, s", tally.longest_s, DEADLINE_S + 1)
            others = sum(n for status, n in tally.statuses.items() if status not in (200, 429, 503, 504))
            told.at_most(part, f"{name}, a runner killed: answers but 200, 429, 503, 504", others, 0)
            _tell_state(told, part, f"{name}, a runner killed", server)
            ballast.unlink()
            freed = time.perf_counter()
            while _answers(server) != "200" and time.perf_counter() - freed < 2 * START_S:
                time.sleep(0.2)
            told.at_most(part, f"{name}: answers 200 after there is room, s", time.perf_counter() - freed, START_S)


async def _scan(address: Address) -> Counter[int]:
    connection = Connection(address)
    asked = [encode("GET", f"/{number}/{'x' * 200}") for number in range(SCANNED)]
    statuses = Counter([(await connection.ask(request)).status for request in asked])
    connection.close()
    return statuses


def _tell_state(told: Report, part: str, name: str, server: Server) -> None:
    assert server.process is not None
    status = server.process.poll()
    text = "runs" if status is None else f"ended with status {status}"
    told.holds(part, f"{name}: the service", text, wanted="runs", reached=status is None)


@contextlib.contextmanager
def _on_a_disk(variable: str, megabytes: int) -> Iterator[tuple[Server, Path]]:
    """A server, not started, one of whose folders has so much room; and that folder."""
    with tempfile.TemporaryDirectory(prefix="facebento-bench-disk-") as place:
        _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "facebento-bench", place)
        try:
            with prepared(FACEBENTO_API_KEYS="bench") as server:
                (server.folder / ".env").write_text("FACEBENTO_API_KEYS=bench\n", encoding="utf-8")
                folder = Path(place)
                if variable == "BENTOML_HOME":
                    (folder / "models").symlink_to((server.home / "models").resolve())
                    server.home = folder
                else:
                    server.settings[variable] = place
                yield server, folder
        finally:
            _run("umount", "--lazy", place)


def _run(program: str, *arguments: str) -> None:
    path = shutil.which(program)
    if path is None:
        raise FileNotFoundError(program)
    subprocess.run([path, *arguments], check=True)  # noqa: S603  of this file alone


def _fill(file: Path) -> None:
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))


def _answers(server: Server) -> str:
    """The status of a request that needs both models, or what kept it from an answer."""
    try:
        return str(server.post("/v1/file/embeddings", files={"image": known.PHOTO}, timeout=40).status_code)
    except httpx.HTTPError as error:
        return type(error).__name__
