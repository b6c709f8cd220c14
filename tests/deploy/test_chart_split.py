"""API and runners as processes of their own, with the arguments and variables that the chart gives to its pods."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.deploy.conftest import Helm, Rendered
from tests.deploy.test_chart_scaling import adapter_rule
from tests.e2e.running import Server, make_server

pytestmark = pytest.mark.e2e

RUNNERS = ("detector", "embedder")
# What the image's entry point makes of these arguments, but for the path of the bento.
START = ("-m", "bentoml_cli._internal.start")


def make(rendered: Rendered, component: str, folder: Path) -> Server:
    """The container of this component, so far as a process can be one. Not started."""
    folder.mkdir()
    environment = rendered.environment(component)
    if "FACEBENTO_API_KEYS_FILE" in environment:
        environment["FACEBENTO_API_KEYS_FILE"] = str(folder / "keys")
        [secret] = rendered.all("Secret")
        (folder / "keys").write_text(secret["stringData"]["api-keys"], encoding="utf-8")
    return make_server(folder, environment)


def start(server: Server, arguments: list[str]) -> None:
    port = server.url.rpartition(":")[2]
    server.run("python", *START, *arguments, "--host", "127.0.0.1", "--port", port, "service:FaceService")


def wait_for(server: Server, path: str, status: int) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            if httpx.get(server.url + path, timeout=10).status_code == status:
                return
        except httpx.TransportError:
            pass
        assert server.process is not None
        assert server.process.poll() is None, server.output
        assert time.monotonic() < end, f"{path} did not say {status}: {server.output}"
        time.sleep(0.1)


@pytest.fixture
def servers(helm: Helm, tmp_path: Path) -> Iterator[dict[str, Server]]:
    """All three, started as the pods are: at once."""
    values = {"split": {"enabled": True}, "keys": {"values": ["fb_key"]}}
    rendered = helm.render(values)
    made = {component: make(rendered, component, tmp_path / component) for component in (*RUNNERS, "api")}
    try:
        for component, server in made.items():
            arguments = [str(each) for each in rendered.container(component)["args"]]
            for runner in RUNNERS:
                service = rendered.one("Service", runner)["metadata"]["name"]
                arguments = [each.replace(f"http://{service}:3000", made[runner].url) for each in arguments]
            start(server, arguments)
        yield made
    finally:
        for server in made.values():
            server.kill()


def test_the_split_release_finds_faces_and_tells_a_missing_runner(servers: dict[str, Server]) -> None:
    api = servers["api"]
    for component, server in servers.items():
        wait_for(server, "/readyz", 200)
        assert httpx.get(server.url + "/livez").status_code == 200, component
    photo = (api.folder / "docs" / "images" / "astronaut.jpg").read_bytes()

    def post(path: str) -> httpx.Response:
        return httpx.post(api.url + path, headers={"x-api-key": "fb_key"}, files={"image": photo}, timeout=60)

    detected = post("/v1/file/detect")
    assert detected.status_code == 200, detected.text
    assert len(detected.json()["faces"]) == 1
    assert len(post("/v1/file/embeddings").json()["embeddings"]) == 128
    # No key goes to the runners' pods.
    assert "FACEBENTO_API_KEYS_FILE" not in servers["detector"].settings

    # What the autoscaler's rule asks for.
    series = adapter_rule()["seriesQuery"].partition("{")[0]
    metrics = httpx.get(api.url + "/metrics").text
    [found] = [line for line in metrics.splitlines() if line.startswith(series) and "/v1/file/detect" in line]
    assert 'endpoint="/v1/file/detect"' in found
    assert 'runner_name="facebento"' in found

    # A runner takes no key, and what it is asked for makes no metrics.
    assert httpx.get(servers["embedder"].url + "/needle").status_code == 404
    told = httpx.get(servers["embedder"].url + "/metrics").text
    assert 'endpoint="/unknown"' in told
    assert "needle" not in told
    assert 'facebento_batch_rows_count{runner="embedder"}' in told

    assert servers["detector"].stop() == 0
    wait_for(api, "/readyz", 503)
    refused = post("/v1/file/detect")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert httpx.get(api.url + "/livez").status_code == 200
    assert api.stop() == 0
    assert servers["embedder"].stop() == 0
