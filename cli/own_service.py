"""A service for the time of a command, as `facebento serve` starts it, on a port and with a key of its own."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from api.settings import Settings
from cli.here import ask
from cli.local import ROLES, served_model

PATIENCE_S: Final = 600  # TensorRT builds its engines at the first start
ENDING_S: Final = 40  # longer than its deadline by default
TOLD_LINES: Final = 5


@dataclass(frozen=True, slots=True)
class OwnService:
    url: str
    key: str
    log: Path  # what it says: JSON, a line for each request


@contextlib.contextmanager
def own_service(home: Path, models: Path) -> Iterator[OwnService]:
    """Ready when the block begins, and gone when it ends.

    home: the working copy, whose .env counts. models: the folder of the model store. Raises ClickException where it
    does not start.
    """
    with tempfile.TemporaryDirectory(prefix="facebento-bench-", ignore_cleanup_errors=True) as folder:
        bentoml_home = Path(folder, "bentoml")  # metrics lie there, and are not to be mixed with those of another
        bentoml_home.mkdir()
        for each in (models, models.with_name("engines")):
            if each.is_dir():
                (bentoml_home / each.name).symlink_to(each)
        service = OwnService(f"http://127.0.0.1:{_free_port()}", secrets.token_urlsafe(32), Path(folder, "log"))
        port = service.url.rpartition(":")[2]
        command = [sys.executable, "-m", "bentoml", "serve", "service:FaceService", "--host", "127.0.0.1"]
        with service.log.open("wb") as log:
            process = subprocess.Popen(  # noqa: S603  Python itself, with arguments from here
                [*command, "--port", port],
                cwd=home,
                env={
                    **os.environ,
                    "BENTOML_HOME": str(bentoml_home),
                    "FACEBENTO_API_KEYS": service.key,
                    "FACEBENTO_TRACES": "",  # its load is nobody's
                },
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for this process, which ends it
            )
        try:
            _wait(process, service)
            yield service
        finally:
            _end(process)


def models_folder(configured: Settings) -> Path:
    """Of the store. Raises SettingsError where a model that is to be served is not in it."""
    detector, _ = (served_model(configured, role) for role in ROLES)
    return detector.path.parents[2]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: "subprocess.Popen[bytes]", service: OwnService) -> None:
    end = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(urllib.error.URLError, OSError):
            ask(f"{service.url}/readyz", timeout_s=5).close()
            return
        if process.poll() is not None or time.monotonic() > end:
            lines = service.log.read_text(encoding="utf-8", errors="replace").splitlines()[-TOLD_LINES:]
            raise click.ClickException("the service does not start; it says:\n" + "\n".join(lines))
        time.sleep(0.1)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(ENDING_S)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
