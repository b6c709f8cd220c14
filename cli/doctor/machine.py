"""Memory, disk, files and the port."""

import os
import resource
import shutil
import socket
import tempfile
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
from bentoml._internal.configuration.containers import BentoMLContainer

import exposition
from api.connections import FILES_PER_CONNECTION, MAX_CONNECTIONS
from api.settings import Settings
from cli.doctor.finding import Finding, ok, problem, warning
from cli.here import ask

GIB: Final = 2**30
MIB: Final = 2**20
# What docs/operations.md reckons: 1 GB, and what decoded images and bodies (which take three times their size) may take
# in each API process.
BASE_BYTES: Final = GIB
IDLE_BYTES: Final = 600 * MIB  # measured: both processes, the starter models inside, after some hundred requests
SCRATCH_BYTES: Final = 64 * MIB
FEW_FILES: Final = 1024
CGROUP: Final = Path("/sys/fs/cgroup")
OWN_CGROUP: Final = Path("/proc/self/cgroup")


def check(configured: Settings, port: int) -> Iterator[Finding]:
    yield _cores(configured)
    yield _memory(configured)
    yield from _folders()
    yield _shared_memory()
    yield _files()
    yield _port(port)


def _cores(configured: Settings) -> Finding:
    usable = int(Settings.model_fields["threads"].get_default(call_default_factory=True, validated_data={}))
    told = f"{usable} may be used, FACEBENTO_THREADS is {configured.threads}"
    if configured.threads > usable or configured.decode_threads > usable:
        return warning(
            "cores", told, "More threads than cores wait for each other: take the setting away, and it is the cores"
        )
    return ok("cores", f"{told}, {configured.api_workers} API process{'' if configured.api_workers == 1 else 'es'}")


def _memory(configured: Settings) -> Finding:
    there = min(psutil.virtual_memory().total, cgroup_limit_bytes() or psutil.virtual_memory().total)
    each = configured.max_image_memory_bytes + 3 * configured.max_body_memory_bytes
    worst = BASE_BYTES + configured.api_workers * each
    told = f"{there / GIB:.1f} GiB may be used, and clients can make the service take {worst / GIB:.1f} at the worst"
    if there < IDLE_BYTES:
        return problem("memory", told, "Give it at least 1 GiB: the models alone take more than half of that")
    if there < worst:
        return warning(
            "memory",
            told,
            "Lower FACEBENTO_MAX_IMAGE_MEMORY_BYTES, FACEBENTO_MAX_BODY_MEMORY_BYTES or FACEBENTO_WORKERS, or raise "
            "the limit: docs/operations.md, Sizing",
        )
    return ok("memory", told)


def cgroup_limit_bytes(root: Path = CGROUP, own: Path = OWN_CGROUP) -> int | None:
    """The least memory limit of this process's control groups, of version 2 or 1; None without one."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top, name = (root / "memory", "memory.limit_in_bytes") if controllers else (root, "memory.max")
        folder = top / path.lstrip("/")
        # In a container the path may be the host's, and the group itself is mounted at the top.
        for each in (folder, *folder.parents):
            if not each.is_relative_to(top):
                break
            try:
                text = (each / name).read_text(encoding="utf-8").strip()
            except OSError:
                continue
            if text.isdecimal():
                limits.append(int(text))
    return min(limits, default=None)


def _folders() -> Iterator[Finding]:
    home = Path(BentoMLContainer.bentoml_home.get())
    yield _writable("BENTOML_HOME", home, "Set BENTOML_HOME to a folder that can be written to")
    metrics = home / exposition.FOLDER
    if metrics.is_dir():
        yield _writable("metrics", metrics, "Make it writable, or set BENTOML_HOME to a folder of your own")
    try:
        scratch = Path(tempfile.gettempdir())
    except FileNotFoundError:
        yield problem("scratch", "no temporary folder can be written to", "--tmpfs /tmp, an emptyDir, or set TMPDIR")
        return
    yield _writable("scratch", scratch, "--tmpfs /tmp, an emptyDir, or set TMPDIR")


def _writable(check: str, folder: Path, remedy: str) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0")
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return problem(check, f"{folder} can't be written to: {error.strerror or error}", remedy)
    told = f"{folder}, {free / GIB:.1f} GiB free"
    if free < SCRATCH_BYTES:
        return problem(check, f"{folder} is full: {free // MIB} MiB are free", "Make room: 64 MiB at the least")
    if free < GIB:
        return warning(check, told, "Make room: pulling a model may take 1 GiB, and the service 64 MiB")
    return ok(check, told)


def _shared_memory() -> Finding:
    """Pixels go to runners in processes of their own in files in memory, which are no part of /dev/shm."""
    try:
        os.close(os.memfd_create("facebento-doctor"))
    except (AttributeError, OSError) as error:
        return warning(
            "shared memory",
            f"there are no files in memory (memfd_create): {error}",
            "FACEBENTO_PLACEMENT=inside needs none; on a GPU pixels are sent over sockets, which takes longer",
        )
    return ok("shared memory", "files in memory can be made; /dev/shm is not used, however small it is")


def _files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return ok("open files", "without a limit")
    connections = min(MAX_CONNECTIONS, hard // FILES_PER_CONNECTION)
    told = f"{soft}, which the service raises to {hard} at the most: {connections} connections for each API process"
    if hard < FEW_FILES:
        return warning("open files", told, "Raise it: ulimit -Hn, LimitNOFILE= of systemd, --ulimit nofile= of docker")
    return ok("open files", told)


def _port(port: int) -> Finding:
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("127.0.0.1", port))
        except PermissionError:
            return problem(
                f"port {port}", "ports below 1024 are for root", f"make serve PORT={port % 1000 + 8000}, say"
            )
        except OSError:
            if _is_facebento(port):
                return ok(f"port {port}", "a facebento is listening there already")
            return warning(f"port {port}", "another program is listening there", f"make serve PORT={port + 1}, say")
    return ok(f"port {port}", "free on 127.0.0.1")


def _is_facebento(port: int) -> bool:
    try:
        with ask(f"http://127.0.0.1:{port}/v1/info/server", timeout_s=2) as answer:
            return b'"facebento"' in answer.read(4096)
    except (OSError, urllib.error.URLError, ValueError):
        return False
