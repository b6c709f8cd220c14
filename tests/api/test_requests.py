"""Bodies as they arrive, against an app with two endpoints that answer what they read."""

import functools
import json
import logging
import tracemalloc
from collections.abc import Callable
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Form
from starlette.formparsers import MultiPartParser

from api.admission import Admission
from api.app import create_app, require_admitted
from api.gate import Gate
from api.keys import read_keys
from api.requests import JsonRoute
from api.schemas import DetectForm, DetectReqBody

Ask = Callable[..., httpx.Response]

MARK = "do-not-echo-me"
BOUNDARY = {"content-type": "multipart/form-data; boundary=xyz"}


@pytest.fixture(scope="module")
def app() -> FastAPI:
    router = APIRouter(route_class=JsonRoute)

    @router.post("/json")
    async def read_json(body: DetectReqBody) -> dict[str, Any]:
        return body.model_dump()

    @router.post("/form")
    async def read_form(form: Annotated[DetectForm, Form(media_type="multipart/form-data")]) -> dict[str, Any]:
        payload = await form.payload("image")
        return {"size": len(payload.read()), "maxResults": form.maxResults, "seq": form.seq}

    return create_app(router)


@pytest.fixture
def post(app: FastAPI, ask: Ask) -> Ask:
    return functools.partial(ask, app, "POST")


def details(answer: Any) -> list[dict[str, Any]]:
    """Of a 422 in the contract's shape, which holds nothing of the request."""
    assert answer.status_code == 422, answer.text
    assert list(answer.json()) == ["detail"]
    detail: list[dict[str, Any]] = answer.json()["detail"]
    assert detail
    for entry in detail:
        assert set(entry) == {"loc", "msg", "type"}
        assert isinstance(entry["loc"], list)
        assert isinstance(entry["msg"], str)
        assert len(entry["msg"]) < 300
    assert MARK not in answer.text
    return detail


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", None])
def test_json_is_read_with_and_without_a_content_type(post: Ask, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    answer = post("/json", content=b'{"image": "QUJD", "seq": 5}', headers=headers)
    assert answer.status_code == 200
    assert answer.json() == {"image": "QUJD", "seq": 5, "maxResults": 750, "detectSortType": 0}


@pytest.mark.parametrize(
    ("body", "location", "kind"),
    [
        (b"", ["body"], "missing"),
        (b"{", ["body"], "json_invalid"),
        (MARK.encode(), ["body"], "json_invalid"),
        (f'{{"image": "{MARK}'.encode(), ["body"], "json_invalid"),
        (f'{{"image": "QUJD"}} {MARK}'.encode(), ["body"], "json_invalid"),
        (f"{{'image': '{MARK}'}}".encode(), ["body"], "json_invalid"),
        (b'{"image": "\xff\xfe"}', ["body"], "json_invalid"),
        ('{"image": "QUJD"}'.encode("utf-16"), ["body"], "json_invalid"),
        (b"[" * 100_000, ["body"], "json_invalid"),
        (b'{"a":' * 100_000, ["body"], "json_invalid"),
        (b'{"image": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", ["body"], "json_invalid"),
        (b'{"image": "QUJD", "seq": NaN}', ["body", "seq"], "int_type"),
        (b'{"image": "QUJD", "seq": Infinity}', ["body", "seq"], "int_type"),
        (b'{"image": "QUJD", "seq": 1e999}', ["body", "seq"], "int_type"),
        (b'{"image": "QUJD", "seq": -1e999}', ["body", "seq"], "int_type"),
        (b'{"image": "QUJD", "maxResults": 1.5}', ["body", "maxResults"], "int_type"),
        (f'{{"image": "QUJD", "maxResults": "{MARK}"}}'.encode(), ["body", "maxResults"], "int_type"),
        (b'{"image": "QUJD", "detectSortType": 9}', ["body", "detectSortType"], "less_than_equal"),
        (b'{"seq": 1}', ["body", "image"], "missing"),
        (b"{}", ["body", "image"], "missing"),
        (f'{{"image": ["{MARK}"]}}'.encode(), ["body", "image"], "string_type"),
        (f'{{"image": {{"{MARK}": 1}}}}'.encode(), ["body", "image"], "string_type"),
        (b'{"image": null}', ["body", "image"], "string_type"),
        (f'"{MARK}"'.encode(), ["body"], "json_object_expected"),
        (f'["{MARK}"]'.encode(), ["body"], "json_object_expected"),
        (b"7", ["body"], "json_object_expected"),
    ],
)
def test_broken_json_is_told_without_an_echo(post: Ask, body: bytes, location: list[str], kind: str) -> None:
    [entry] = details(post("/json", content=body, headers={"content-type": "application/json"}))
    assert entry["loc"][: len(location)] == location
    assert entry["type"] == kind


@pytest.mark.parametrize("content_type", ["text/plain", "image/png", "application/octet-stream", "nonsense"])
def test_json_called_otherwise_is_told_how_to_call_it(post: Ask, content_type: str) -> None:
    body = f'{{"image": "{MARK}"}}'.encode()
    [entry] = details(post("/json", content=body, headers={"content-type": content_type}))
    assert "Content-Type: application/json" in entry["msg"]


def test_of_a_key_that_comes_twice_the_last_counts(post: Ask) -> None:
    body = b'{"image": "QUJD", "image": "REVG", "seq": 1, "seq": 2}'
    answer = post("/json", content=body, headers={"content-type": "application/json"})
    assert (answer.json()["image"], answer.json()["seq"]) == ("REVG", 2)


def test_a_number_beyond_64_bits_stays_itself(post: Ask) -> None:
    body = {"image": "QUJD", "seq": 2**80 + 1}
    assert post("/json", json=body).json()["seq"] == 2**80 + 1


def test_unknown_fields_are_passed_over(post: Ask) -> None:
    assert post("/json", json={"image": "QUJD", "more": [1]}).status_code == 200


def test_a_number_of_a_million_digits_is_no_500(post: Ask) -> None:
    body = b'{"image": "QUJD", "seq": ' + b"9" * 1_000_000 + b"}"
    details(post("/json", content=body, headers={"content-type": "application/json"}))


def test_a_form_is_read_and_its_numbers_are_text(post: Ask) -> None:
    answer = post("/form", files={"image": ("a.exe", b"12345", "text/html")}, data={"maxResults": "7"})
    assert answer.json() == {"size": 5, "maxResults": 7, "seq": 0}


def test_a_file_without_a_declared_type_is_read(post: Ask) -> None:
    body = b'--xyz\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n123\r\n--xyz--\r\n'
    assert post("/form", content=body, headers=BOUNDARY).json()["size"] == 3


def test_a_string_where_a_file_belongs(post: Ask) -> None:
    [entry] = details(post("/form", files={"image": (None, MARK)}))
    assert (entry["loc"], entry["type"]) == (["body", "image"], "file_expected")
    [entry] = details(post("/form", data={"image": MARK}))
    assert (entry["loc"], entry["type"]) == (["body", "image"], "file_expected")


@pytest.mark.parametrize("data", [{"maxResults": "1.5"}, {"maxResults": MARK}, {"maxResults": "0"}, {"seq": "1e3"}])
def test_numbers_of_a_form_that_are_none(post: Ask, data: dict[str, str]) -> None:
    [entry] = details(post("/form", files={"image": b"123"}, data=data))
    assert entry["loc"] == ["body", *data]


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary="])
def test_multipart_without_its_boundary_is_a_400(post: Ask, content_type: str) -> None:
    answer = post("/form", content=b"--xyz\r\n\r\n\r\n--xyz--", headers={"content-type": content_type})
    assert answer.status_code == 400
    assert isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize("body", [b"", b"--xyz--\r\n", b"--abc\r\n\r\n\r\n--abc--\r\n", b"\0" * 1000, MARK.encode()])
def test_a_form_that_is_none_is_the_clients_fault(post: Ask, body: bytes) -> None:
    answer = post("/form", content=body, headers=BOUNDARY)
    assert answer.status_code in {400, 422}
    assert MARK not in answer.text


@pytest.mark.parametrize("body", [b"--abc\r\n", b"--xyz\r\n: \0\r\n\r\n", b"--xyz\rx"])
def test_a_broken_form_is_nothing_for_the_log(post: Ask, body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    assert post("/form", content=body, headers=BOUNDARY).status_code == 400
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_form_of_1001_parts_is_refused(post: Ask) -> None:
    part = b'--xyz\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    answer = post("/form", content=part * 1001 + b"--xyz--\r\n", headers=BOUNDARY)
    assert answer.status_code == 400


def test_json_where_a_form_belongs_is_told(post: Ask) -> None:
    [entry] = details(post("/form", json={"image": MARK}))
    assert entry["loc"] == ["body", "image"]


def test_no_file_of_a_form_goes_to_the_disk() -> None:
    assert MultiPartParser.spool_max_size > 10**12


def test_the_description_of_the_api_is_json(app: FastAPI, ask: Ask) -> None:
    described = ask(app, "GET", "/openapi.json")
    assert described.status_code == 200
    assert set(json.loads(described.content)["paths"]) == {"/json", "/form"}


def test_what_nobody_asked_for_is_passed_over_without_making_objects_of_it(post: Ask) -> None:
    """Ten megabytes in an unknown field: as objects they would take some 500 MB and hold the event loop for seconds."""
    junk = b'{"image": "QUJD", "other": [' + b"[]," * 3_000_000 + b"0]}"
    tracemalloc.start()
    try:
        assert post("/json", content=junk, headers={"content-type": "application/json"}).status_code == 200
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


def test_what_has_not_passed_the_gate_is_refused_behind_it_too(ask: Ask) -> None:
    router = APIRouter(route_class=JsonRoute, dependencies=[Depends(require_admitted)])

    @router.post("/json")
    async def read_json(body: DetectReqBody) -> dict[str, Any]:
        return body.model_dump()

    inner = create_app(router)
    answer = ask(inner, "POST", "/json", json={"image": "QUJD"}, headers={"x-api-key": "the right one, say"})
    assert answer.status_code == 401
    keys = read_keys([("KEYS", ["secret"])])
    gate = Gate(
        inner,
        guarded=lambda _: True,
        keys=lambda: keys,
        admission=Admission(places=lambda: 1, max_in_flight=1, max_body_memory_bytes=1000, patience_s=9),
        max_body_bytes=1000,
        deadline_s=10,
    )
    assert ask(gate, "POST", "/json", json={"image": "QUJD"}, headers={"x-api-key": "secret"}).status_code == 200
