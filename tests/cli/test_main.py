"""How commands end that the machine lets down."""

import errno
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli.main import Commands

PROGRAM = "from cli.main import main; main()"


def run(error: OSError) -> str:
    @click.group(cls=Commands)
    def main() -> None: ...

    @main.command()
    def fail() -> None:
        raise error

    result = CliRunner().invoke(main, ["fail"])
    assert result.exit_code == 1
    return result.stderr


def test_an_error_of_the_disk_is_told_as_it_is() -> None:
    assert run(OSError(errno.ENAMETOOLONG, "File name too long", "x.jpg")) == "Error: x.jpg: File name too long\n"
    assert run(OSError(errno.ENOSPC, "No space left on device")) == "Error: No space left on device\n"
    assert run(OSError("timed out")) == "Error: timed out\n"


def test_a_closed_pipe_ends_without_a_word() -> None:
    assert run(BrokenPipeError(errno.EPIPE, "Broken pipe")) == ""


def test_a_home_that_can_not_be_made_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "file" / "home"))
    command = [sys.executable, "-c", PROGRAM, "models", "list"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"Error: {tmp_path}/file")
    assert ended.stderr.endswith("Not a directory. See BENTOML_HOME\n")
    assert ended.stderr.count("\n") == 1
