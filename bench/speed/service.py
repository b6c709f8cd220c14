"""The service under load: a server of its own, its log, and the CPU time and memory of all its processes."""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import serving
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
    load: wrk.Load
    cpu_ms: float  # of all processes of the service, for each answer
    usage: Usage  # at the end of it
    lines: tuple[Mapping[str, Any], ...]  # of the log, those of its requests that were answered

    @property
    def rate(self) -> float:
        return self.load.rate


class Service:
    def __init__(self, name: str, server: Server) -> None:
        """name: for the tables."""
        self.name = name
        self.server = server

    def answer(self, job: Job, body: bytes) -> Any:
        """To one request, which must be a 200."""
        return self.server.answer(job.path, content=body, headers={"Content-Type": "application/json"})

    def load(self, job: Job, body: bytes, *, clients: int, seconds: float) -> Loaded:
        """Raises bench.speed.wrk.LoadError where any request was not answered well."""
        file = self.server.folder / "body.json"
        file.write_bytes(body)
        root = serving.pid(self.server)
        before, behind = cpu_seconds(root), self._log.stat().st_size
        load = wrk.load(self.server.url + job.path, body=file, key=self.server.key, clients=clients, seconds=seconds)
        cpu, taken = cpu_seconds(root) - before, usage(root)
        time.sleep(QUIET_S)
        return Loaded(load, 1000 * cpu / load.answers, taken, tuple(self._lines(behind, job)))

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
                    if told.get("endpoint") == job.path and told.get("status") == 200:
                        yield told


@contextlib.contextmanager
def running(variants: Mapping[str, Mapping[str, str]]) -> Iterator[list[Service]]:
    """A server for each variant: name -> its settings. All of them are ready, and end with the block."""
    with contextlib.ExitStack() as stack:
        yield [Service(name, stack.enter_context(serving.serving(**settings))) for name, settings in variants.items()]
