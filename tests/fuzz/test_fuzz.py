"""A short run of each fuzzer, the same one every time. `make fuzz` is a long one."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris comes for Linux on x86-64 only"
)


@pytest.mark.parametrize(("fuzzer", "runs"), [("fuzz_image", 4_000), ("fuzz_feature", 8_000), ("fuzz_bodies", 400)])
def test_fuzzer_finds_nothing(fuzzer: str, runs: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", f"tests.fuzz.{fuzzer}", "--runs", str(runs), "--findings", str(tmp_path)]
    # libFuzzer asks the system how much memory it took at most, and a process begins with what the one took that
    # started it: the tests' own may be over its limit. Forked from a shell, it begins with that of the shell.
    command = ["sh", "-c", '"$@"; exit $?', "sh", *command]
    # What Python hashes decides which way the coverage leads.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    ended = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert f"stat::number_of_executed_units: {runs}" in ended.stderr
    assert not list(tmp_path.iterdir())
