"""Building the real image, and running it, with podman's store and the kernel: no registry, no daemon, no cgroups."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

STAND_IN = "localhost/facebento-test-python:3.11"
TEST_IMAGE = "localhost/facebento-test"

# What a container runtime does, less the isolation that a test has no use for: the image's files, read-only; a scratch;
# /proc, /dev and the names of hosts; a process 1 of its own; the user.
RUN = """
set -eu
root=$1 user=$2 folder=$3 tmpfs=$4
shift 4
mount --bind "$root" "$root"
mount -o remount,ro,bind "$root"
[ -z "$tmpfs" ] || mount -t tmpfs -o "mode=1777,$tmpfs" tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
echo "127.0.0.1 localhost" > "$root/run/hosts"
mount --bind "$root/run/hosts" "$root/etc/hosts"
exec chroot --userspec="$user" "$root" env -C "$folder" "$@"
"""


def podman(*arguments: str) -> str:
    return subprocess.run(["podman", *arguments], check=True, capture_output=True, text=True).stdout


def base_image() -> str:
    """The one that BASE_IMAGE names, or a stand-in for the official one, which takes a registry to be had."""
    named = os.environ.get("BASE_IMAGE")
    if named:
        return named
    here = subprocess.run(["podman", "image", "exists", STAND_IN], check=False).returncode == 0
    if not here:
        _make_stand_in()
    return STAND_IN


def _make_stand_in() -> None:
    """A minimal Debian with its own Python, as the official image is one with another Python."""
    with tempfile.TemporaryDirectory() as folder:
        packages = "--include=ca-certificates,python3,python3-pip"
        subprocess.run(["debootstrap", "--variant=minbase", packages, "bookworm", folder], check=True)
        for marker in Path(folder, "usr/lib").glob("python3*/EXTERNALLY-MANAGED"):
            marker.unlink()
        # The certificates of this machine: behind a proxy that signs anew, pip in the image needs them.
        shutil.copy("/etc/ssl/certs/ca-certificates.crt", Path(folder, "etc/ssl/certs/ca-certificates.crt"))
        certificates = "-c=ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt"
        with subprocess.Popen(["tar", "-C", folder, "-c", "."], stdout=subprocess.PIPE) as tar:
            subprocess.run(["podman", "import", certificates, "-", STAND_IN], stdin=tar.stdout, check=True)


@dataclass
class Image:
    name: str
    config: dict[str, Any] = field(init=False)
    layers: list[str] = field(init=False)
    health_check: list[str] = field(init=False)

    def __post_init__(self) -> None:
        [told] = json.loads(podman("image", "inspect", self.name))
        self.config = told["Config"]
        self.layers = told["RootFS"]["Layers"]
        self.health_check = told["Healthcheck"]["Test"]

    @contextmanager
    def files(self) -> Iterator[Path]:
        """Its root folder, to be read."""
        mounted = podman("image", "mount", self.name).strip()
        try:
            yield Path(mounted)
        finally:
            podman("image", "umount", self.name)

    @contextmanager
    def run(
        self,
        *arguments: str,
        settings: Mapping[str, str] | None = None,
        entrypoint: Sequence[str] | None = None,
        tmpfs: str = "size=256m",
    ) -> Iterator["Container"]:
        """A container of it, which is gone afterwards. tmpfs: options of the scratch; without any there is none."""
        port = _free_port()
        environment = [*self.config["Env"], f"BENTOML_PORT={port}", *(f"{k}={v}" for k, v in (settings or {}).items())]
        command = [*(self.config["Entrypoint"] if entrypoint is None else entrypoint), *arguments]
        with self.files() as root, tempfile.TemporaryFile("w+b") as output:
            script = ["bash", "-c", RUN, "bash", str(root), self.config["User"], self.config["WorkingDir"], tmpfs]
            process = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", *script, "-i", *environment, *command],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            container = Container(process, f"http://127.0.0.1:{port}", output.fileno())
            try:
                yield container
            finally:
                container.kill()


@dataclass
class Container:
    process: "subprocess.Popen[bytes]"
    url: str
    _output: int

    @property
    def output(self) -> str:
        size = os.fstat(self._output).st_size
        return os.pread(self._output, size, 0).decode()

    def wait_until_ready(self, path: str = "/readyz") -> None:
        end = time.monotonic() + 90
        while True:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < end, self.output
            try:
                if httpx.get(self.url + path, timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)

    def wait(self) -> int:
        """The exit status, within the 50 seconds that the chart and the docs give it to stop."""
        return self.process.wait(50)

    def stop(self) -> int:
        """SIGTERM to its process 1, as every container runtime sends it, and the exit status."""
        [first] = psutil.Process(self.process.pid).children()
        first.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        if self.process.poll() is None:
            for first in psutil.Process(self.process.pid).children():
                first.kill()  # process 1 of the container, which takes all the others along
        self.process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def build(folder: Path, home: Path, name: str) -> Image:
    """bentoml build and bentoml containerize of the working copy in folder. VARIANT: cpu, or cuda."""
    environment = os.environ | {
        "BENTOML_HOME": str(home),
        "BENTOML_DO_NOT_TRACK": "True",
        "PYTHONPATH": str(folder),
    }
    bentoml = str(Path(sys.executable).with_name("bentoml"))
    subprocess.run([bentoml, "build", "--version", name], cwd=folder, env=environment, check=True)
    arguments = {"VARIANT": os.environ.get("VARIANT", "cpu"), "BASE_IMAGE": base_image()}
    options = [f"--opt=build-arg={key}={value}" for key, value in arguments.items()]
    options += [f"--image-tag={TEST_IMAGE}:{name}", "--backend=podman", "--opt=isolation=chroot", "--opt=network=host"]
    subprocess.run([bentoml, "containerize", f"facebento:{name}", *options], cwd=folder, env=environment, check=True)
    return Image(f"{TEST_IMAGE}:{name}")
