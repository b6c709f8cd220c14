"""`facebento serve`, as the README has it."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.running import Server, make_server

pytestmark = pytest.mark.e2e


def test_it_announces_its_address_its_key_once_and_a_line_that_works_when_pasted(server: Server) -> None:
    assert server.url in server.output
    assert server.output.count(server.key) == 1
    assert (server.folder / ".env").stat().st_mode & 0o077 == 0
    [line] = re.findall(r"^\s*(curl .*)$", server.output, re.MULTILINE)
    bash = shutil.which("bash")
    assert bash is not None
    pasted = subprocess.run([bash, "-c", line], capture_output=True, check=True, cwd="/")
    assert len(json.loads(pasted.stdout)["faces"]) == 1


def test_a_second_start_keeps_the_key_and_does_not_show_it(tmp_path: Path) -> None:
    server = make_server(tmp_path, {})
    (server.folder / ".env").write_text("FACEBENTO_API_KEYS=made-before\n", encoding="utf-8")
    server.start()
    assert server.stop() == 0
    assert "made-before" not in server.output
    assert server.key == "made-before"


def test_settings_that_stop_the_start_are_named(tmp_path: Path) -> None:
    server = make_server(tmp_path, {"FACEBENTO_DEVICE": "cuda:99", "FACEBENTO_API_KEYS": "k"})
    with pytest.raises(AssertionError, match="cuda:99"):
        server.start()
    assert server.process is not None
    assert server.process.returncode not in (None, 0)
    assert "Traceback" not in server.output
