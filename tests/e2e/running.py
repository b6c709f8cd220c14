"""A server as a user starts it: a working copy of its own, a key that it makes itself, the models of the store."""

import base64
import contextlib
import io
import os
import re
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from numpy.typing import NDArray
from PIL import ExifTags, Image

from models import store

# One for all requests, since making one takes as long as many an answer. It keeps no connection.
# Without a timeout of its own: the server has a deadline.
HTTP = httpx.Client(timeout=200, limits=httpx.Limits(max_keepalive_connections=0))

PROJECT = Path(__file__).resolve().parents[2]
# Compiled modules come along, or each process of each server would compile them anew; but none that is being written.
NOT_COPIED = shutil.ignore_patterns(".*", "*.egg-info", "*-pytest-*.pyc", "*.pyc.*", "build")


@dataclass
class Server:
    url: str
    folder: Path  # its working copy
    home: Path  # its BENTOML_HOME
    settings: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text(encoding="utf-8")

    @property
    def key(self) -> str:
        return (self.folder / ".env").read_text(encoding="utf-8").strip().removeprefix("FACEBENTO_API_KEYS=")

    def start(self) -> None:
        """Run `facebento serve` until it has announced itself."""
        self.run("facebento", "serve", "--port", self.url.rpartition(":")[2])
        assert self.process is not None
        while "facebento is ready" not in self.output:
            assert self.process.poll() is None, self.output
            time.sleep(0.05)

    def run(self, command: str, *arguments: str) -> None:
        """Start one of the installed commands on the working copy."""
        with (self.folder / "output").open("wb") as output:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name(command), *arguments],
                cwd=self.folder,
                env=environment(self.folder, self.home) | self.settings,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_ready(self) -> None:
        """Wait until what was run takes requests."""
        assert self.process is not None
        end = time.monotonic() + 60
        while True:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < end, self.output
            with contextlib.suppress(httpx.TransportError):
                if HTTP.get(f"{self.url}/readyz").status_code == 200:
                    return
            time.sleep(0.05)

    def workers(self) -> list[tuple[str, psutil.Process]]:
        """The processes that serve a BentoML service, each with its name."""
        assert self.process is not None
        found = []
        for process in psutil.Process(self.process.pid).children():
            words = process.cmdline() if process.status() != psutil.STATUS_ZOMBIE else []
            if "--service-name" in words:
                found.append((words[words.index("--service-name") + 1], process))
        return found

    def worker(self, name: str) -> psutil.Process:
        """A process that serves the BentoML service of that name. Raises LookupError where there is none."""
        for found, process in self.workers():
            if found == name:
                return process
        raise LookupError(name)

    def stop(self) -> int:
        """SIGTERM, and the exit status. Every process of it is gone after this."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self) -> None:
        """End every process of it that a test has left."""
        if self.process is not None and self.process.poll() is None:
            for each in [*psutil.Process(self.process.pid).children(recursive=True), self.process]:
                each.kill()
            self.process.wait()

    def post(self, path: str, **request: Any) -> httpx.Response:
        headers = {"x-api-key": self.key} | request.pop("headers", {})
        return HTTP.post(self.url + path, headers=headers, **request)

    def answer(self, path: str, **request: Any) -> Any:
        """The body of an answer that must be a 200."""
        response = self.post(path, **request)
        assert response.status_code == 200, response.text
        return response.json()

    def read(self, path: str) -> Any:
        """The body of an answer to a GET without a key, which must be a 200."""
        response = HTTP.get(self.url + path)
        assert response.status_code == 200, response.text
        return response.json()


NewServer = Callable[..., Server]


def make_server(folder: Path, settings: dict[str, str]) -> Server:
    """A working copy that knows no key, a BENTOML_HOME with the starter models, a free port. Not started."""
    shutil.copytree(PROJECT, folder / "facebento", ignore=NOT_COPIED)
    home = folder / "bentoml"
    home.mkdir()
    (home / "models").symlink_to(store.find("centerface").path.parents[2])
    return Server(f"http://127.0.0.1:{free_port()}", folder / "facebento", home, settings)


def environment(code: Path, home: Path) -> dict[str, str]:
    """For a command that is to know nothing of the caller's settings."""
    ours = ("FACEBENTO_", "BENTOML_", "ORT_", "PYTHONDONTWRITEBYTECODE")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return clean | {
        "PYTHONPATH": str(code),  # before the working copy under test
        "BENTOML_HOME": str(home),
        # Neither told to report on its use nor told not to, but to print what it reports.
        "__BENTOML_DEBUG_USAGE": "True",
    }


def free_port() -> int:
    """One that nothing else is likely to take before a server does.

    Not the system's choice: it gives the same ones to whatever connects or listens anywhere in the meantime.
    """
    while True:
        port = secrets.choice(range(10_000, 32_000))
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def batch_sizes(metrics: str, method: str) -> dict[str, float]:
    """Upper bound -> how many batches were at most this large, from /metrics."""
    rows = re.findall(rf'adaptive_batch_size_bucket{{le="([^"]+)",method_name="{method}".*?}} (\S+)', metrics)
    return {bound: float(count) for bound, count in rows}


def jpeg(pixels: NDArray[np.uint8], *, orientation: int = 1, quality: int = 92) -> bytes:
    """pixels: uint8 [height, width, 3] RGB, written as they are, with that EXIF orientation."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", exif=exif, quality=quality)
    return file.getvalue()


def black_png(width: int, height: int) -> bytes:
    """One bit a pixel, all of them black: some kilobytes, whatever the size."""
    row = bytes(1 + (width + 7) // 8)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(row * height)),
        (b"IEND", b""),
    ]
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
