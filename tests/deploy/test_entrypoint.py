"""The entry point of the image, in front of one that is not BentoML's but tells how it was called."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ENTRYPOINT = Path(__file__).resolve().parents[2] / "deploy" / "image" / "entrypoint.sh"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def program(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    file.chmod(0o755)


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """What the image sets, here below tmp_path; the programs in tmp_path/bin come before the system's."""
    program(tmp_path / "bento" / "env" / "docker" / "entrypoint.sh", """printf '<%s>' $$ "$@"; exit 7""")
    (tmp_path / "bin").mkdir()
    return {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "BENTO_PATH": str(tmp_path / "bento"),
        "TMPDIR": str(tmp_path / "scratch"),
        "BENTOML_HOME": str(tmp_path / "scratch" / "bentoml"),
    }


@pytest.fixture(params=["sh", "dash", "bash"])
def run(request: pytest.FixtureRequest, variables: dict[str, str]) -> Run:
    """Runs the entry point by that shell. The image's sh is Debian's: dash."""
    shell = shutil.which(request.param)
    if shell is None:
        pytest.skip(f"there is no {request.param} on this machine")

    def run(*arguments: str, **changed: str) -> "subprocess.CompletedProcess[str]":
        with subprocess.Popen(
            [shell, str(ENTRYPOINT), *arguments],
            env=variables | changed,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            out, err = process.communicate(timeout=30)
            # In place of its process number, which no test can know.
            out = out.replace(f"<{process.pid}>", "<same process>")
            return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run


def test_it_becomes_bentomls_entry_point_with_all_arguments(run: Run) -> None:
    done = run("serve", "--host", "", "two words", "*")
    # The same process: a signal to the container reaches BentoML.
    assert done.stdout == "<same process><serve><--host><><two words><*>"
    assert (done.returncode, done.stderr) == (7, "")


def test_without_arguments_it_adds_none(run: Run) -> None:
    assert run().stdout == "<same process>"


def test_it_makes_the_scratch_and_leaves_nothing_in_it(run: Run, tmp_path: Path) -> None:
    assert run().returncode == 7
    assert [path.name for path in (tmp_path / "scratch").rglob("*")] == ["bentoml"]


def test_what_is_in_the_scratch_stays(run: Run, tmp_path: Path) -> None:
    kept = tmp_path / "scratch" / "bentoml" / "kept"
    kept.parent.mkdir(parents=True)
    kept.write_text("kept")
    assert run().returncode == 7
    assert [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()] == [kept]
    assert kept.read_text() == "kept"


# Not even root can make a folder in the first, or a file in the second.
@pytest.mark.parametrize("folder", ["/proc/none/scratch", "/proc"])
@pytest.mark.parametrize("variable", ["TMPDIR", "BENTOML_HOME"])
def test_a_scratch_that_cannot_be_written_is_told_in_one_line(run: Run, variable: str, folder: str) -> None:
    done = run(**{variable: folder})
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"facebento can't write to its scratch {folder}: ")
    # The reason in words, without the shell's name and line before it.
    reason = line.removeprefix(f"facebento can't write to its scratch {folder}: ").partition(". ")[0]
    assert reason in {
        "No such file or directory",
        "Directory nonexistent",
        "Permission denied",
        "Read-only file system",
    }
    assert "Mount a writable folder or a tmpfs there" in line


def test_a_file_in_place_of_the_scratch_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "scratch").touch()
    done = run()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"facebento can't write to its scratch {tmp_path / 'scratch'}: ")


DF = "Filesystem 1048576-blocks Used Available Capacity Mounted on"


@pytest.mark.parametrize("free_mb", [0, 10, 63])
def test_a_full_scratch_is_told(run: Run, tmp_path: Path, free_mb: int) -> None:
    program(tmp_path / "bin" / "df", f'echo "$@" > {tmp_path / "asked"}; echo "{DF}\ntmpfs 70 0 {free_mb} 0% /tmp"')
    done = run()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"facebento's scratch {tmp_path / 'scratch'} is full: {free_mb} MB are free, 64 are")
    assert len(done.stderr.splitlines()) == 1
    # In megabytes, a line for a file system however long its name is, and of the scratch.
    assert (tmp_path / "asked").read_text().split() == ["-Pm", str(tmp_path / "scratch")]


def test_just_enough_room_is_enough(run: Run, tmp_path: Path) -> None:
    program(tmp_path / "bin" / "df", f'echo "{DF}\ntmpfs 64 0 64 0% /tmp"')
    assert run().returncode == 7


def test_without_tmpdir_the_scratch_is_tmp(run: Run, variables: dict[str, str], tmp_path: Path) -> None:
    program(tmp_path / "bin" / "df", f'echo "$@" > {tmp_path / "asked"}; echo "{DF}\ntmpfs 70 0 70 0% /tmp"')
    del variables["TMPDIR"]
    assert run().returncode == 7
    assert (tmp_path / "asked").read_text().split() == ["-Pm", "/tmp"]  # noqa: S108  the image's, not a file of ours
