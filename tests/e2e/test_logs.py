"""What a running server writes to its output and tells Prometheus, and what it never does."""

import json
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import exposition
from tests.e2e.running import HTTP, NewServer, Server, encoded

pytestmark = pytest.mark.e2e


def request_id() -> str:
    return f"test-{secrets.token_hex(8)}"


def line(server: Server, of: str) -> dict[str, Any]:
    """The one line of the request with that id."""
    end = time.monotonic() + 10
    while True:
        found = [json.loads(each) for each in server.output.splitlines() if f'"{of}"' in each]
        if found:
            [told] = found
            assert isinstance(told, dict)
            return told
        assert time.monotonic() < end, "there is no line of the request"
        time.sleep(0.02)


def photo(server: Server) -> bytes:
    return (server.folder / "docs" / "images" / "astronaut.jpg").read_bytes()


def test_a_request_is_one_line_with_all_that_there_is_to_tell(server: Server) -> None:
    own = request_id()
    response = server.post("/v1/file/embeddings", files={"image": photo(server)}, headers={"x-request-id": own})
    assert response.headers["x-request-id"] == own
    told = line(server, own)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told["time"])
    assert told["level"] == "info"
    assert (told["service"], told["key"], told["method"]) == ("facebento", "key1", "POST")
    assert (told["endpoint"], told["status"], told["faces"]) == ("/v1/file/embeddings", 200, 1)
    assert told["bytes_in"] > len(photo(server))
    assert told["bytes_out"] == len(response.content)
    stages = ["receive", "wait", "memory", "queue", "decode", "detect", "align", "embed", "encode"]
    assert list(told["stages_ms"]) == stages
    assert 0 < sum(told["stages_ms"].values()) <= told["duration_ms"]


@pytest.mark.parametrize(
    ("request_line", "key", "endpoint", "status", "reason"),
    [
        ("POST /v1/detect", "wrong", "/v1/detect", 401, "key_wrong"),
        ("POST /v1/detect", None, "/v1/detect", 422, "missing"),
        ("POST /v1/detect%0A", None, "/v1/detect", 422, "missing"),
        ("PUT /v1/detect", None, "/v1/detect", 405, "method_not_allowed"),
        ("GET /v1/info/model/centerface", None, "/v1/info/model/{model_name}", 200, None),
        ("GET /v1/info/model/x%0Ay", None, "/v1/info/model/{model_name}", 404, "model_not_found"),
        ("GET /a/b?c=d", None, "/unknown", 404, "not_found"),
        ("GET /livez%0A", None, "/unknown", 404, "not_found"),
    ],
)
def test_refused_ones_and_unknown_ones_have_a_line_and_an_id_too(
    server: Server, *, request_line: str, key: str | None, endpoint: str, status: int, reason: str | None
) -> None:
    own = request_id()
    method, _, path = request_line.partition(" ")
    headers = {"x-request-id": own} | ({"x-api-key": key} if key else {})
    response = HTTP.request(method, server.url + path, headers=headers)
    assert (response.status_code, response.headers["x-request-id"]) == (status, own)
    told = line(server, own)
    assert (told["endpoint"], told["status"], told["key"], told.get("reason")) == (endpoint, status, None, reason)


def test_the_health_check_has_an_id_and_no_line(server: Server) -> None:
    own, after = request_id(), request_id()
    assert HTTP.get(f"{server.url}/v1/health", headers={"x-request-id": own}).headers["x-request-id"] == own
    HTTP.get(f"{server.url}/v1/info/model", headers={"x-request-id": after})
    line(server, after)
    assert own not in server.output


def test_a_client_who_goes_away_is_told_as_499(server: Server) -> None:
    own = request_id()
    head = f"POST /v1/detect HTTP/1.1\r\nHost: x\r\nx-api-key: {server.key}\r\nx-request-id: {own}\r\n"
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as client:
        client.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
        time.sleep(0.2)
    assert line(server, own)["status"] == 499


def needles(text: str) -> Iterator[str]:
    """Pieces of a long text, any of which gives it away."""
    return (text[at : at + 32] for at in range(0, len(text) - 32, 32))


def test_nothing_that_a_client_sends_or_gets_stands_in_the_output(server: Server) -> None:
    mark = f"needle{secrets.token_hex(6)}"
    picture = encoded(photo(server))
    headers = {
        "user-agent": mark,
        "cookie": mark,
        "authorization": f"Bearer {mark}",
        "x-forwarded-for": mark,
        "x-request-id": f"{mark}!",  # one that can't be taken over
        "traceparent": mark,
    }
    embeddings = server.answer("/v1/embeddings", json={"image": picture, mark: mark}, headers=headers)["embeddings"]
    feature = server.answer("/v1/feature", json={"image": picture}, headers=headers)["feature"]
    file = {"image": (f"{mark}.jpg", photo(server), f"image/{mark}")}
    server.answer(f"/v1/file/detect?{mark}={mark}", files=file, data={mark: mark}, headers=headers)
    refused = [
        server.post("/v1/detect", headers=headers, **request)
        for request in (
            {"json": {"image": mark}},
            {"json": {"image": encoded(mark.encode())}},
            {"json": {"image": picture, "maxResults": mark}},
            {"json": {"image": [mark]}},
            {"json": {"image": picture[: len(picture) // 2 // 4 * 4]}},
            {"content": mark},
            {"content": f'{{"image": "{mark}'},
        )
    ]
    refused += [
        server.post("/v1/feature-score", json={"feature1": feature, "feature2": feature[:-8] + mark}, headers=headers),
        server.post("/v1/file/detect", files={"image": (mark, mark.encode(), mark)}, headers=headers),
        server.post("/v1/file/detect", data={"image": mark}, files={mark: b"x"}, headers=headers),
        server.post("/v1/file/detect", content=mark, headers={"content-type": f"multipart/form-data; x={mark}"}),
        server.post("/v1/detect", json={"image": picture}, headers={"x-api-key": mark}),
        server.post("/v1/detect", headers={"content-encoding": mark}, content=mark),
        server.post(f"/v1/{mark}", json={"image": picture}),
        HTTP.get(f"{server.url}/v1/info/model/{mark}"),
        HTTP.request(mark.upper(), f"{server.url}/v1/detect"),
        HTTP.get(f"{server.url}/v1/detect/../{mark}?{mark}"),
    ]
    assert {response.status_code for response in refused} <= {400, 401, 404, 405, 422}
    last = request_id()
    HTTP.get(f"{server.url}/v1/info/model", headers={"x-request-id": last})
    line(server, last)
    output = server.output
    assert mark not in output.lower()
    assert encoded(mark.encode())[:-4] not in output
    assert not [piece for text in (picture, feature) for piece in needles(text) if piece in output]
    assert not [number for number in embeddings if repr(number) in output]
    assert output.count(server.key) == 1  # `facebento serve` has made it, and said so
    assert mark not in HTTP.get(f"{server.url}/metrics").text


def test_paths_that_nobody_serves_make_no_metrics(server: Server) -> None:
    def names() -> set[str]:
        return set(re.findall(r'endpoint="([^"]*)"', HTTP.get(f"{server.url}/metrics").text))

    HTTP.get(f"{server.url}/x")
    before = names()
    assert "/unknown" in before
    for number in range(50):
        HTTP.request("GET" if number % 2 else "DELETE", f"{server.url}/scan/{number}")
        HTTP.get(f"{server.url}/v1/info/model/{number}")
        HTTP.get(f"{server.url}/livez/{number}")
    added = names() - before
    assert added <= {"/v1/info/model/{model_name}"}


def test_requests_are_counted_by_the_name_of_their_key(server: Server) -> None:
    def count(key: str, status: int) -> float:
        labels = f'endpoint="/v1/feature-score",key="{key}",status="{status}"'
        metrics = HTTP.get(f"{server.url}/metrics").text
        return sum(map(float, re.findall(rf"^facebento_requests_total{{{labels}}} (\S+)", metrics, re.MULTILINE)))

    before = count("key1", 422), count("-", 401)
    server.post("/v1/feature-score", json={})
    server.post("/v1/feature-score", json={}, headers={"x-api-key": "wrong"})
    assert (count("key1", 422), count("-", 401)) == (before[0] + 1, before[1] + 1)


@pytest.fixture
def full_scratch(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk that has room for a few of BentoML's files of metrics."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    if (
        sys.platform != "linux"
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=320k", "tmpfs", str(folder)],  # noqa: S607
            capture_output=True,
            check=False,
        ).returncode
    ):
        pytest.skip("mounting a file system takes Linux and root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607


def test_on_a_full_disk_requests_are_answered_and_every_line_of_every_process_is_json(
    new_server: NewServer, full_scratch: Path
) -> None:
    server = new_server(FACEBENTO_API_KEYS="phone=k", FACEBENTO_PLACEMENT="processes")
    (server.folder / ".env").write_text("FACEBENTO_API_KEYS=k", encoding="utf-8")
    (server.home / exposition.FOLDER).symlink_to(full_scratch)
    server.run("bentoml", "serve", "--port", server.url.rpartition(":")[2])
    server.wait_ready()
    with (full_scratch / "filler").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        file.writelines(bytes(4096) for _ in range(1000))
    picture = photo(server)
    for path in ("detect", "embeddings", "feature"):
        server.answer(f"/v1/file/{path}", files={"image": picture})
    own = request_id()
    server.answer("/v1/file/score", files={"image1": picture, "image2": picture}, headers={"x-request-id": own})
    assert line(server, own)["key"] == "phone"
    assert HTTP.get(f"{server.url}/readyz").status_code == 200
    assert HTTP.get(f"{server.url}/metrics").status_code == 200
    assert server.stop() == 0
    lines = [json.loads(each) for each in server.output.splitlines()]
    assert {each.get("service") for each in lines} == {None, "detector", "embedder", "facebento"}
    assert any("no room for metrics" in each["message"] for each in lines)
    assert len({json.dumps(each) for each in lines}) == len(lines), "a line is there twice"
