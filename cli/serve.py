"""`facebento serve`: `bentoml serve`, with a key if there was none, and a first request to paste."""

import os
import secrets
import shlex
import signal
import socket
import sys
import time
import urllib.error
from pathlib import Path

import click
import psutil

from api import settings
from cli.here import ask

HOME = Path(__file__).resolve().parent.parent
PICTURE = HOME / "docs" / "images" / "astronaut.jpg"
KEY_VARIABLE = f"{settings.PREFIX}API_KEYS"


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on; 0.0.0.0 for all.")
@click.option("--port", default=3000, show_default=True, type=click.IntRange(1, 65535))
def serve(host: str, port: int) -> None:
    """Serve on this machine. Makes an API key in .env if none is set anywhere."""
    os.chdir(HOME)  # where service.py is, and .env
    made = None if settings.load().keys() else _make_key(Path(".env"))
    _check_port(host, port)
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    url = f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"
    told = [f"facebento is ready. Open {url}/ in a browser, and enter the key there."]
    if made:
        told.append(f"API key, made just now and kept in {HOME / '.env'}: {made}")
    elif _is_kept_in(HOME / ".env"):
        told.append(f"API key: {HOME / '.env'} has it, as {KEY_VARIABLE}")
    else:
        told.append(f"API key: one of those that {KEY_VARIABLE} and {KEY_VARIABLE}_FILE set")
    told.append(f"Or try it here:\n  {_first_request(url)}")
    told.append(f"The API is described on {url}/docs")
    sys.stdout.flush()
    _when_ready(f"{url}/readyz", "\n" + "\n".join(told) + "\n")
    command = [sys.executable, "-m", "bentoml", "serve", "service:FaceService", "--host", host, "--port", str(port)]
    os.execv(command[0], command)  # noqa: S606  a shell has nothing to do here


def _make_key(file: Path) -> str:
    key = f"fb_{secrets.token_urlsafe(32)}"
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    file.touch()
    file.chmod(0o600)  # also where the file was there before
    with file.open("a", encoding="utf-8") as text:
        text.write(("\n" if before and not before.endswith("\n") else "") + f"{KEY_VARIABLE}={key}\n")
    return key


def _check_port(host: str, port: int) -> None:
    """Says in one line what BentoML would say in a traceback."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((host, port))
        except socket.gaierror:
            raise click.ClickException(f"{host} is no address of this machine. Give an IP address") from None
        except OSError as error:
            raise click.ClickException(
                f"can't listen on {host} port {port}: {error.strerror}. Choose another one: make serve PORT={port + 1}"
            ) from None


def _first_request(url: str) -> str:
    """A line for a shell that detects the faces of a picture of this repository.

    The key is read from .env as the line runs, so that it stands neither here nor in the shell's history.
    """
    file = HOME / ".env"
    key = f"$(sed -n s/^{KEY_VARIABLE}=//p {shlex.quote(str(file))})" if _is_kept_in(file) else "YOUR-KEY"
    return f'curl -s -H "x-api-key: {key}" -F image=@{shlex.quote(str(PICTURE))} {url}/v1/file/detect'


def _is_kept_in(file: Path) -> bool:
    """Whether the file sets one key, and that counts."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    values = [line.removeprefix(f"{KEY_VARIABLE}=") for line in lines if line.startswith(f"{KEY_VARIABLE}=")]
    return len(values) == 1 and settings.load().keys().find(values[0].encode()) is not None


def _when_ready(probe: str, text: str) -> None:
    """Print the text from a process of its own once the probe answers; without a word if this process ends before."""
    server = os.getpid()
    if os.fork():
        os.wait()
        return
    if os.fork():  # a grandchild, which the system collects: the server knows nothing of it
        os._exit(0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a word
    while _lives(server):
        try:
            with ask(probe, timeout_s=5):
                click.echo(text)
                break
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    os._exit(0)


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
