"""`facebento serve`, as the README has it."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from models import store
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
    assert (
        "FACEBENTO_API_KEY is a client's, without effect here. The service's keys: FACEBENTO_API_KEYS." in server.output
    )
    assert "Traceback" not in server.output
    assert "Tracking" not in server.output


def damage(home: Path) -> None:
    """Models of its own, of which one is damaged, in place of the link to all."""
    (home / "models").unlink()
    detector, embedder = (store.find(model_id).path.parent for model_id in ("centerface", "dlib-resnet-v1"))
    shutil.copytree(detector, home / "models" / detector.parent.name / detector.name)
    (home / "models" / embedder.parent.name).symlink_to(embedder.parent)
    [graph] = (home / "models" / detector.parent.name).glob("*/model.onnx")
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)


def test_what_would_stop_the_models_stops_the_start_in_one_line_wherever_they_run(new_server: NewServer) -> None:
    starts: list[tuple[Server, str]] = []
    for placement in ("inside", "processes"):
        common = {"FACEBENTO_PLACEMENT": placement, "FACEBENTO_API_KEYS": "k"}
        starts.append((new_server(**common, FACEBENTO_DEVICE="cuda:99"), "cuda:99"))
        starts.append((new_server(**common), "is damaged: "))
        damage(starts[-1][0].home)
    for server, _ in starts:
        server.run("bentoml", "serve", "--port", server.url.rpartition(":")[2])
    for server, reason in starts:
        assert server.process is not None
        assert server.process.wait(60) == 1
        [line] = server.output.splitlines()
        assert line.startswith("Error: ")
        assert reason in line


def test_it_reports_to_nobody(server: Server) -> None:
    assert "Tracking" not in server.output
