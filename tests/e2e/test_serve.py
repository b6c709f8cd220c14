"""`facebento serve`, as the README has it."""

import json
import re
import shutil
import subprocess

import pytest

from tests.e2e.running import NewServer, Server

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


def test_bentoml_serve_without_a_key_refuses_to_start_in_one_line(new_server: NewServer) -> None:
    server = new_server(FACEBENTO_API_KEY="misspelt")
    server.run("bentoml", "serve")
    assert server.process is not None
    assert server.process.wait(60) != 0
    assert "FACEBENTO_API_KEYS: not set" in server.output
    assert "Did you mean FACEBENTO_API_KEYS?" in server.output
    assert "Traceback" not in server.output
    assert "Tracking" not in server.output


def test_a_device_that_is_not_there_stops_the_start(new_server: NewServer) -> None:
    server = new_server(FACEBENTO_DEVICE="cuda:99", FACEBENTO_API_KEYS="k")
    server.run("bentoml", "serve")
    assert server.process is not None
    assert server.process.wait(60) != 0
    assert "cuda:99" in server.output
    assert "Traceback" not in server.output


def test_it_reports_to_nobody(server: Server) -> None:
    assert "Tracking" not in server.output
