"""What a client sees while parts of the service stop, die, hang or are too busy."""

import asyncio
import signal
import socket
import threading
import time
from collections import Counter

import httpx
import psutil
import pytest

from tests.e2e.running import NewServer, Server

pytestmark = pytest.mark.e2e


def wait_for(server: Server, status: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    while httpx.get(f"{server.url}/readyz", timeout=30).status_code != status:
        assert time.monotonic() < end, f"/readyz did not say {status} within {seconds} s"
        time.sleep(0.1)


async def burst(server: Server, count: int, photo: bytes) -> Counter[int]:
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=count), timeout=200) as client:
        headers = {"x-api-key": server.key}
        url = f"{server.url}/v1/file/embeddings"
        requests = [client.post(url, headers=headers, files={"image": photo}) for _ in range(count)]
        return Counter(response.status_code for response in await asyncio.gather(*requests))


@pytest.mark.parametrize("to", ["the server", "each of its processes"])
def test_sigterm_loses_nothing_that_is_in_flight(new_server: NewServer, to: str) -> None:
    server = new_server(FACEBENTO_DEADLINE_S="100")
    server.start()
    photo = (server.folder / "docs" / "images" / "astronaut.jpg").read_bytes()
    assert server.process is not None
    signalled = [psutil.Process(server.process.pid)]
    if to == "each of its processes":  # as systemd does
        signalled = [*(server.worker(name) for name in ("detector", "embedder", "facebento")), *signalled]
    threading.Timer(0.7, lambda: [process.terminate() for process in signalled]).start()
    assert asyncio.run(burst(server, 40, photo)) == {200: 40}
    assert server.process.wait(30) == 0


def test_a_reload_replaces_the_processes_and_the_server_can_still_be_stopped(new_server: NewServer) -> None:
    server = new_server()
    server.start()
    names = ("detector", "embedder", "facebento")
    before = {server.worker(name).pid for name in names}
    assert server.process is not None
    server.process.send_signal(signal.SIGHUP)
    end = time.monotonic() + 60
    while any(psutil.pid_exists(pid) for pid in before):
        assert time.monotonic() < end, "the old processes stay"
        time.sleep(0.2)
    wait_for(server, 200, 30)
    time.sleep(2)  # BentoML refuses a signal until it is done with the one before
    assert server.stop() == 0


def test_a_runner_that_is_silent_is_told_at_once_and_one_that_is_killed_comes_back(new_server: NewServer) -> None:
    server = new_server()
    server.start()
    photo = (server.folder / "docs" / "images" / "astronaut.jpg").read_bytes()
    detector = server.worker("detector")
    detector.suspend()
    try:
        wait_for(server, 503, 5)
        refused = server.post("/v1/file/detect", files={"image": photo})
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert set(refused.json()) == {"detail"}
        assert httpx.get(f"{server.url}/v1/health").json() == {"status": "ok", "ready": False}
        assert httpx.get(f"{server.url}/v1/info/server").status_code == 503
    finally:
        detector.resume()
    wait_for(server, 200, 10)
    detector.kill()
    detector.wait(10)
    # Whether /readyz tells it depends on who is faster, the probe or BentoML's replacement.
    end = time.monotonic() + 30
    while (answered := server.post("/v1/file/detect", files={"image": photo})).status_code == 503:
        assert time.monotonic() < end, server.output
        time.sleep(0.1)
    assert len(answered.json()["faces"]) == 1
    assert server.stop() == 0


def test_too_many_requests_and_too_slow_ones(new_server: NewServer) -> None:
    server = new_server(FACEBENTO_MAX_IN_FLIGHT="2", FACEBENTO_DEADLINE_S="2")
    server.start()
    photo = (server.folder / "docs" / "images" / "astronaut.jpg").read_bytes()
    counts = asyncio.run(burst(server, 20, photo))
    assert counts[200] >= 2
    assert counts[429] >= 1
    assert set(counts) <= {200, 429}
    # Two bodies that never end take both places, until their deadline.
    port = int(server.url.rpartition(":")[2])
    head = f"POST /v1/detect HTTP/1.1\r\nHost: x\r\nx-api-key: {server.key}\r\nContent-Length: 100\r\n\r\n{{"
    with (
        socket.create_connection(("127.0.0.1", port)) as first,
        socket.create_connection(("127.0.0.1", port)) as second,
    ):
        for slow in (first, second):
            slow.sendall(head.encode())
        time.sleep(0.5)
        busy = server.post("/v1/file/detect", files={"image": photo})
        assert (busy.status_code, busy.headers["retry-after"]) == (429, "1")
        for slow in (first, second):
            slow.settimeout(10)
            assert slow.recv(12) == b"HTTP/1.1 504"
    assert server.post("/v1/file/detect", files={"image": photo}).status_code == 200
    assert server.stop() == 0


def test_the_runners_live_in_the_api_process_where_bentoml_is_told_so(new_server: NewServer) -> None:
    server = new_server(FACEBENTO_API_KEYS="k")
    (server.folder / ".env").write_text("FACEBENTO_API_KEYS=k", encoding="utf-8")
    # What a container runs for one service alone.
    start = ("-m", "bentoml_cli._internal.start", "start-http-server", "service:FaceService")
    server.run("python", *start, "--service-name", "facebento", "--port", server.url.rpartition(":")[2])
    photo = (server.folder / "docs" / "images" / "astronaut.jpg").read_bytes()
    end = time.monotonic() + 60
    while True:
        try:
            if httpx.get(f"{server.url}/readyz").status_code == 200:
                break
        except httpx.TransportError:
            assert time.monotonic() < end, server.output
        time.sleep(0.1)
    assert len(server.answer("/v1/file/embeddings", files={"image": photo})["embeddings"]) == 128
    assert httpx.get(f"{server.url}/v1/info/server").json()["runners"].keys() == {"detector", "embedder"}
    assert server.stop() == 0
