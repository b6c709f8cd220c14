"""A server for the time of one measurement, started as a user starts it."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.e2e.running import Server, make_server


@contextlib.contextmanager
def prepared(**settings: str) -> Iterator[Server]:
    """A working copy with settings of its own, not started. Whatever of it runs at the end is killed."""
    with tempfile.TemporaryDirectory(prefix="facebento-bench-") as folder:
        server = make_server(Path(folder), settings)
        try:
            yield server
        finally:
            server.kill()
            _kill_orphans(server)


def _kill_orphans(server: Server) -> None:
    """Those of its processes that outlived a supervisor which was itself killed."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("PYTHONPATH") == str(server.folder):
                process.kill()


@contextlib.contextmanager
def serving(**settings: str) -> Iterator[Server]:
    """One that is ready. Settings that are not given are the defaults."""
    with prepared(**settings) as server:
        server.start()
        yield server


def pid(server: Server) -> int:
    """Of the process above all others of it."""
    if server.process is None:
        raise LookupError("the server was not started")
    return server.process.pid
