"""`facebento bench` with a service of its own."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from models import store
from tests.e2e.running import PROJECT, environment

pytestmark = pytest.mark.e2e


def test_bench_starts_a_service_measures_it_and_ends_it(tmp_path: Path) -> None:
    (tmp_path / "bentoml").mkdir()
    (tmp_path / "bentoml" / "models").symlink_to(store.find("centerface").path.parents[2])
    program = [sys.executable, "-c", "from cli.main import main; main()"]
    command = [*program, "bench", "--seconds", "1", "--clients", "1", "--json"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment(PROJECT, tmp_path / "bentoml") | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [each["endpoint"] for each in told["measured"]] == ["detect", "embed", "score"]
    assert all(each["answers"] > 0 for each in told["measured"])
    assert "detect" in told["stages_ms"]["embed"]
    assert not list(tmp_path.glob("facebento-bench-*"))
    assert not [each for each in psutil.process_iter() if str(tmp_path) in environ(each).get("BENTOML_HOME", "")]


def environ(process: psutil.Process) -> dict[str, str]:
    try:
        found: dict[str, str] = process.environ()
    except psutil.Error:
        return {}
    return found
