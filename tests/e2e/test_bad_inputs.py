"""The table of bad inputs against a running server: each row has its answer, and the next one is answered as ever."""

import socket
from functools import cache
from typing import Any

import httpx
import numpy as np
import pytest
import skimage.data

from tests.e2e.running import HTTP, Server
from tests.e2e.test_contract import POSTS
from tests.inputs import images, inside, outside, pictures
from tests.inputs.table import FIELDS, MARK, Given, Row

pytestmark = pytest.mark.e2e

PHOTO = np.ascontiguousarray(skimage.data.astronaut()[:256, 128:384])  # type: ignore[no-untyped-call]
FACE = (68, 72, 132, 158)  # her face in it
NOBODY = np.asarray(skimage.data.chelsea())  # type: ignore[no-untyped-call]

ROWS = [
    *outside.keys(),
    *outside.envelopes(),
    *outside.accepted(),
    *outside.sizes(),
    *inside.base64_texts(),
    *images.images(PHOTO),
    *images.contents(PHOTO, NOBODY, FACE),
    *inside.features(),
    *inside.parameters(),
]


@pytest.fixture(scope="module")
def given(server: Server) -> Given:
    photo = pictures.encoded(PHOTO)

    @cache
    def answered(file: bytes) -> Any:
        return server.answer("/v1/file/detect", files={"image": file})["faces"]

    feature = server.answer("/v1/file/feature", files={"image": photo})["feature"]
    return Given(server.key, photo, feature, answered)


def test_the_table_names_every_endpoint_and_each_row_once() -> None:
    assert set(FIELDS) == set(POSTS)
    ids = [row.id for row in ROWS]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_row(server: Server, given: Given, row: Row) -> None:
    request = dict(row.request) if isinstance(row.request, dict) else row.request(given)
    headers = [(name.encode(), value.encode("latin-1")) for name, value in request.pop("headers", {}).items()]
    headers += [(b"x-api-key", key) for key in row.keys(given.key)]
    response = HTTP.post(server.url + row.path, headers=headers, **request)
    assert response.status_code == row.status, response.text[:1000]
    check_shape(response)
    if row.status == 422:
        [entry] = response.json()["detail"]
        assert tuple(entry["loc"]) == row.place
        assert entry["type"] == row.kind
    if row.holds:
        assert row.holds(response.json(), given), response.text[:1000]
    for secret in (MARK, given.key, str(server.folder), "Traceback", 'File "', "passwd"):
        assert secret not in response.text
    assert HTTP.get(f"{server.url}/v1/health").json() == {"status": "ok", "ready": True}


def check_shape(response: httpx.Response) -> None:
    """Whether the answer has the contract's form for its status."""
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    if response.status_code == 200:
        assert "detail" not in body
        return
    assert set(body) == {"detail"}
    assert ("www-authenticate" in response.headers) == (response.status_code == 401)
    if response.status_code != 422:
        assert isinstance(body["detail"], str)
        assert 10 < len(body["detail"]) < 300
        return
    assert body["detail"]
    for entry in body["detail"]:
        assert set(entry) == {"loc", "msg", "type"}
        assert all(isinstance(each, str | int) for each in entry["loc"])
        assert 0 < len(entry["msg"]) < 300
        assert entry["type"]


def connect(server: Server) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def head(server: Server, path: str, *lines: str) -> bytes:
    start = f"POST {path} HTTP/1.1", "Host: x", f"x-api-key: {server.key}", "Content-Type: application/json"
    return "\r\n".join([*start, *lines, "", ""]).encode()


def status(connection: socket.socket) -> int:
    return int(connection.recv(12).split()[1])


@pytest.mark.parametrize("path", POSTS)
def test_a_declared_length_over_the_cap_is_refused_before_anything_of_it_came(server: Server, path: str) -> None:
    with connect(server) as connection:
        connection.sendall(head(server, path, f"Content-Length: {100 * 2**20}"))
        assert status(connection) == 413


@pytest.mark.parametrize("path", ["/v1/detect", "/v1/feature-score", "/v1/file/detect"])
def test_a_length_that_is_too_small_ends_the_body(server: Server, path: str) -> None:
    with connect(server) as connection:
        connection.sendall(head(server, path, "Content-Length: 10") + b'{"image": "AAAA"}' * 10)
        # The server may see first that what follows is no request.
        assert status(connection) in (400, 422)
    assert HTTP.get(f"{server.url}/v1/health").status_code == 200


@pytest.mark.parametrize("length", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("path", ["/v1/detect", "/v1/score", "/v1/file/detect"])
def test_clients_that_go_half_way_leave_nothing_behind(server: Server, given: Given, path: str, length: str) -> None:
    for _ in range(20):
        with connect(server) as connection:
            connection.sendall(head(server, path, length) + b'10\r\n{"image": "AAAAAA')
    assert len(given.answered.__wrapped__(given.photo)) == 1  # type: ignore[attr-defined]


def test_nothing_of_it_all_is_in_the_log(server: Server, given: Given) -> None:
    assert not [
        word for word in (MARK, "Traceback", given.feature[:200], "passwd", "boundary") if word in server.output
    ]
