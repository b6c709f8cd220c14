"""The service under load: a server of its own, its log, and the CPU time and memory of all its processes."""

import contextlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api.gate import CLIENT_GONE
from bench import serving
from bench.report import percentile
from bench.speed import wrk
from bench.usage import Usage, cpu_seconds, usage
from tests.e2e.running import Server

QUIET_S = 0.5  # after a load: what its clients left behind is dropped meanwhile


@dataclass(frozen=True, slots=True)
class Job:
    name: str  # of the method of Work that does the same
    path: str


EMBEDDINGS = Job("embeddings", "/v1/embeddings")
DETECT = Job("detect", "/v1/detect")
MULTI = Job("multi-embeddings", "/v1/multi-embeddings")
JOBS = (EMBEDDINGS, DETECT)


@dataclass(frozen=True, slots=True)
class Loaded:
    clients: int
    seconds: float
    answers: int  # with status 200
    refused: int  # with status 429
    latencies: tuple[float, ...]  # ms, of the 200s; rising
    cpu_ms: float  # of all processes of the service, for each 200
    usage: Usage  # at the end of it
    lines: tuple[Mapping[str, Any], ...]  # of the access log, those of the 200s

    @property
    def rate(self) -> float:
        """200s a second."""
        return self.answers / self.seconds

    def ms(self, percent: float) -> float:
        return percentile(self.latencies, percent)


class Service:
    def __init__(self, name: str, server: Server) -> None:
        """name: for the tables."""
        self.name = name
        self.server = server

    def answer(self, job: Job, body: bytes) -> Any:
        """To one request, which must be a 200."""
        return self.server.answer(job.path, content=body, headers={"Content-Type": "application/json"})

    def load(self, job: Job, body: bytes, *, clients: int, seconds: float, crowded: bool = False) -> Loaded:
        """crowded: so many clients that some may be refused with 429, as they should be then. They come again at once.

        Raises bench.speed.wrk.LoadError where any other request was not answered with 200.
        """
        file = self.server.folder / "body.json"
        file.write_bytes(body)
        root = serving.pid(self.server)
        cpu_before, behind = cpu_seconds(root), self._log.stat().st_size
        url = self.server.url + job.path
        load = wrk.load(url, body=file, key=self.server.key, clients=clients, seconds=seconds)
        cpu, taken = cpu_seconds(root) - cpu_before, usage(root)
        time.sleep(QUIET_S)
        lines = list(self._lines(behind, job))
        statuses = Counter(line["status"] for line in lines)
        # What is in work as wrk leaves has lost its client.
        wrong = statuses.keys() - {200, CLIENT_GONE, *([429] if crowded else [])}
        if wrong or (load.refused and not crowded) or not statuses[200]:
            told = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
            raise wrk.LoadError(f"{job.path}, {clients} clients, settings {self.name}: the log tells of {told}")
        good = tuple(line for line in lines if line["status"] == 200)
        # wrk does not tell the latencies of some from those of others; the log does, but for the way to the service.
        latencies = tuple(sorted(line["duration_ms"] for line in good)) if load.refused else load.latencies
        answers = load.answers - load.refused
        return Loaded(clients, load.seconds, answers, load.refused, latencies, 1000 * cpu / answers, taken, good)

    @property
    def _log(self) -> Path:
        return self.server.folder / "output"

    def _lines(self, start: int, job: Job) -> Iterator[Mapping[str, Any]]:
        """The access log's from that byte on."""
        with self._log.open("rb") as file:
            file.seek(start)
            for line in file:
                with contextlib.suppress(ValueError):  # what is no JSON is no request's
                    told = json.loads(line)
                    if told.get("endpoint") == job.path:
                        yield told


@contextlib.contextmanager
def running(variants: Mapping[str, Mapping[str, str]]) -> Iterator[list[Service]]:
    """A server for each variant: name -> its settings. All of them are ready, and end with the block."""
    with contextlib.ExitStack() as stack:
        yield [Service(name, stack.enter_context(serving.serving(**settings))) for name, settings in variants.items()]
