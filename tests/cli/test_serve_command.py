"""What `facebento serve` does before it becomes `bentoml serve`; the rest is in tests/e2e/test_serve.py."""

import importlib
import os
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from api.keys import Key
from api.settings import load
from cli.main import main

PROJECT = Path(__file__).resolve().parents[2]
ANYWHERE = "/home/me/facebento"


class Exec(Exception):  # noqa: N818  no error: it stands for the process that serve turns into
    pass


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working copy, no setting in the environment, and an exec that ends in an exception."""

    def no_exec(_: str, command: list[str]) -> None:
        raise Exec(" ".join(command[1:]))

    for name in [name for name in os.environ if name.startswith("FACEBENTO_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module("cli.serve")  # the name cli.serve is the command in it
    monkeypatch.setattr(module, "HOME", tmp_path)
    monkeypatch.setattr(os, "execv", no_exec)
    monkeypatch.setattr(module, "_when_ready", print)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["serve", *arguments])


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_it_makes_a_key_that_only_the_user_may_read_and_shows_it_once(home: Path) -> None:
    result = run("--port", free_port())
    assert isinstance(result.exception, Exec)
    [line] = (home / ".env").read_text(encoding="utf-8").splitlines()
    name, key = line.split("=")
    assert name == "FACEBENTO_API_KEYS"
    assert len(key) > 40
    assert result.output.count(key) == 1
    assert (home / ".env").stat().st_mode & 0o777 == 0o600
    assert load().keys().find(key.encode()) == Key("key1")


def test_it_keeps_what_is_in_the_file_already(home: Path) -> None:
    (home / ".env").write_text("FACEBENTO_DEVICE=cpu", encoding="utf-8")
    run("--port", free_port())
    lines = (home / ".env").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "FACEBENTO_DEVICE=cpu"
    assert lines[1].startswith("FACEBENTO_API_KEYS=fb_")


@pytest.mark.parametrize("where", ["environment", "file", ".env"])
def test_it_makes_no_key_where_there_is_one(home: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    match where:
        case "environment":
            monkeypatch.setenv("FACEBENTO_API_KEYS", "mine")
        case "file":
            (home / "keys").write_text("mine\n", encoding="utf-8")
            monkeypatch.setenv("FACEBENTO_API_KEYS_FILE", str(home / "keys"))
        case _:
            (home / ".env").write_text("FACEBENTO_API_KEYS=mine\n", encoding="utf-8")
    result = run("--port", free_port())
    assert isinstance(result.exception, Exec)
    assert "made just now" not in result.output
    assert "mine" not in result.output
    # But whoever looks for it is told where it is.
    told = f"{home / '.env'} has it" if where == ".env" else "one of those that FACEBENTO_API_KEYS and"
    assert f"API key: {told}" in result.output
    # Only a key that stands in .env can be read from there by the line to paste.
    assert ("YOUR-KEY" in result.output) == (where != ".env")


def test_it_turns_into_bentoml_serve(home: Path) -> None:
    port = free_port()
    result = run("--host", "127.0.0.1", "--port", port)
    assert str(result.exception) == f"-m bentoml serve service:FaceService --host 127.0.0.1 --port {port}"
    assert f"http://127.0.0.1:{port}/readyz" in result.output
    # The first thing told is the page's address.
    assert (
        result.output.partition("/readyz")[2]
        .split("\n")[1]
        .startswith(f"facebento is ready. Open http://127.0.0.1:{port}/ in a browser")
    )
    assert Path.cwd() == home


@pytest.mark.parametrize("page", ["index.md", "ko/quick-start.md"])
def test_the_documentation_shows_what_it_prints(home: Path, page: str) -> None:
    port = free_port()
    output = run("--port", port).output
    key = (home / ".env").read_text(encoding="utf-8").strip().partition("=")[2]
    printed = output[output.index("facebento is ready") :].rstrip()
    for made, told in ((key, "fb_..."), (port, "3000"), (str(home), ANYWHERE), (str(PROJECT), ANYWHERE)):
        assert made in printed
        printed = printed.replace(made, told)
    assert f"```\n{printed}\n```\n" in (PROJECT / "docs" / page).read_text(encoding="utf-8")


def test_a_port_in_use_is_told_in_one_line(home: Path) -> None:
    assert home
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run("--port", str(port))
    assert result.exit_code == 1
    assert f"port {port}" in result.output


def test_a_bad_setting_is_told_in_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home
    monkeypatch.setenv("FACEBENTO_DEVICE", "gpu")
    result = run()
    assert result.exit_code == 1
    assert result.output.startswith("Error: FACEBENTO_DEVICE: must be auto, cpu, cuda or cuda:N")
