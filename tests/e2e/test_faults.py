"""What a client sees while parts of the service stop, die, hang or are too busy, and while nobody waits any more."""

import asyncio
import contextlib
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import psutil
import pytest

from bench import faults, known
from tests.e2e.bursts import answered, burst, in_work, photo, wait_for
from tests.e2e.conftest import running
from tests.e2e.running import HTTP, NewServer, Server, make_server

pytestmark = pytest.mark.e2e

WORKERS = ("detector", "embedder", "facebento")
# As on a GPU: most of what can happen to a runner can happen to one in a process of its own.
PROCESSES = {"FACEBENTO_PLACEMENT": "processes"}
PLACES = 4
DEADLINE_S = 6  # waited for more than once


@pytest.fixture(scope="module")
def with_few_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {"FACEBENTO_MAX_IN_FLIGHT": str(PLACES), "FACEBENTO_DEADLINE_S": str(DEADLINE_S)}
    yield from running(make_server(tmp_path_factory.mktemp("few"), PROCESSES | settings))


def test_uploads_that_end_half_way_give_their_places_back(with_few_places: Server) -> None:
    goods = asyncio.run(known.learn(with_few_places))
    assert asyncio.run(faults.gone(with_few_places, goods)).statuses.keys() == {200}


def test_a_runner_that_is_silent_is_told_at_once_and_is_back_when_it_speaks(with_few_places: Server) -> None:
    server = with_few_places
    picture = photo(server)
    detector = server.worker("detector")
    detector.suspend()
    try:
        wait_for(server, 503, DEADLINE_S)  # after half of it
        refused = server.post("/v1/file/detect", files={"image": picture})
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert set(refused.json()) == {"detail"}
        assert HTTP.get(f"{server.url}/v1/health").json() == {"status": "ok", "ready": False}
        assert HTTP.get(f"{server.url}/v1/info/server").status_code == 503
    finally:
        detector.resume()
    wait_for(server, 200, 30)
    assert len(server.answer("/v1/file/detect", files={"image": picture})["faces"]) == 1


def test_too_many_requests_and_too_slow_ones(with_few_places: Server) -> None:
    server = with_few_places
    responses = asyncio.run(burst(server, 20, "/v1/file/embeddings"))
    counts = Counter(response.status_code for response in responses)
    assert counts[200] >= PLACES
    assert counts[429] >= 1
    assert set(counts) <= {200, 429}
    # Bodies that never end take all places, until their deadline.
    address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
    head = f"POST /v1/detect HTTP/1.1\r\nHost: x\r\nx-api-key: {server.key}\r\nContent-Length: 100\r\n\r\n{{"
    with contextlib.ExitStack() as connections:
        slow = [connections.enter_context(socket.create_connection(address)) for _ in range(PLACES)]
        for each in slow:
            each.sendall(head.encode())
        while in_work(server, "/v1/detect") < PLACES:
            time.sleep(0.02)
        busy = server.post("/v1/file/detect", files={"image": photo(server)})
        assert (busy.status_code, busy.headers["retry-after"]) == (429, "1")
        for each in slow:
            each.settimeout(30)
            assert each.recv(12) == b"HTTP/1.1 504"
    assert server.post("/v1/file/detect", files={"image": photo(server)}).status_code == 200


# The last with this server.
def test_a_reload_replaces_the_processes_and_the_server_can_still_be_stopped(
    with_few_places: Server,
) -> None:
    server = with_few_places
    before = {server.worker(name).pid for name in WORKERS}
    assert server.process is not None
    server.process.send_signal(signal.SIGHUP)
    end = time.monotonic() + 60
    while any(psutil.pid_exists(pid) for pid in before):
        assert time.monotonic() < end, "the old processes stay"
        time.sleep(0.2)
    wait_for(server, 200, 30)
    # BentoML refuses a signal until it is done with the one before.
    server.process.terminate()
    asked = time.monotonic()
    with contextlib.suppress(httpx.TransportError):
        while HTTP.get(f"{server.url}/readyz").status_code == 200:
            if time.monotonic() > asked + 3:
                server.process.terminate()
                asked = time.monotonic()
            time.sleep(0.05)
    assert server.process.wait(30) == 0, server.output


def test_the_runners_live_in_the_api_process_where_bentoml_is_told_so(new_server: NewServer) -> None:
    server = new_server(FACEBENTO_API_KEYS="k")
    (server.folder / ".env").write_text("FACEBENTO_API_KEYS=k", encoding="utf-8")
    # What a container runs for one service alone.
    start = ("-m", "bentoml_cli._internal.start", "start-http-server", "service:FaceService")
    server.run("python", *start, "--service-name", "facebento", "--port", server.url.rpartition(":")[2])
    end = time.monotonic() + 60
    while True:
        try:
            if httpx.get(f"{server.url}/readyz").status_code == 200:
                break
        except httpx.TransportError:
            assert time.monotonic() < end, server.output
        time.sleep(0.1)
    assert len(server.answer("/v1/file/embeddings", files={"image": photo(server)})["embeddings"]) == 128
    assert httpx.get(f"{server.url}/v1/info/server").json()["runners"].keys() == {"detector", "embedder"}
    assert server.stop() == 0


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """So slow that most of a burst is late. It finds a key in its .env."""
    server = make_server(
        tmp_path_factory.mktemp("hurried"),
        {
            **PROCESSES,
            "FACEBENTO_DEADLINE_S": "1.5",
            "FACEBENTO_DEVICE": "cpu",
            "FACEBENTO_THREADS": "1",
            "FACEBENTO_MAX_CONCURRENCY": "80",
        },
    )
    (server.folder / ".env").write_text("FACEBENTO_API_KEYS=made-before\n", encoding="utf-8")
    yield from running(server)
    assert "made-before" not in server.output


def test_a_second_start_keeps_the_key_and_does_not_show_it(hurried: Server) -> None:
    assert hurried.key == "made-before"
    assert "made-before" not in hurried.output


def test_a_body_of_one_byte_at_a_time_ends_at_the_deadline(hurried: Server) -> None:
    head = f"POST /v1/detect HTTP/1.1\r\nHost: x\r\nx-api-key: {hurried.key}\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(hurried.url.rpartition(":")[2]))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(head.encode())
        connection.settimeout(0.05)
        for _ in range(400):
            connection.sendall(b"{")
            try:
                assert connection.recv(12) == b"HTTP/1.1 504"
                break
            except TimeoutError:
                continue
        else:
            pytest.fail("it reads on and on")


def test_the_deadline_reaches_the_runners(hurried: Server) -> None:
    statuses = Counter(response.status_code for response in asyncio.run(burst(hurried, 80)))
    assert statuses[504]
    assert set(statuses) <= {200, 504}
    # Some were late before their image was decoded, some after the detector had begun with them.
    end = time.monotonic() + 30
    while not (dropped := answered(hurried, "detector", 499)):
        assert time.monotonic() < end, "the detector has dropped nothing"
        time.sleep(0.1)
    assert dropped <= statuses[504]
    end = time.monotonic() + 30
    while hurried.post("/v1/file/detect", files={"image": photo(hurried)}).status_code != 200:
        assert time.monotonic() < end, hurried.output
