"""The examples of the docs, sent again: what the pages tell is what the service answers."""

import json
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from docs.examples import DOCS, EXAMPLE, PAGES, TABLE, Service, table
from tests.e2e.running import Server

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed, with which the docs' examples ask"),
]

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
# What differs between releases, machines and preparations of a model, and is told as it was where the docs were made.
VARIES = {"version", "bentoml", "onnxruntime", "device", "execution_provider", "provider", "model"}


@pytest.fixture(scope="module")
def service(server: Server) -> Iterator[Service]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACEBENTO_API_KEY", server.key)
        yield Service(server.url, server.key, server.folder)


@pytest.fixture(scope="module")
def openapi(server: Server) -> Any:
    return server.read("/openapi.json")


def text(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def near(told: float, answered: float) -> bool:
    # A pixel, or what a device rounds otherwise, by which a page's last decimal may change.
    return abs(told - answered) <= (1 if isinstance(told, int) else 0.011)


def same(told: Any, answered: Any, key: str = "") -> bool:
    match told, answered:
        case dict(), dict():
            return told.keys() == answered.keys() and all(same(told[name], answered[name], name) for name in told)
        case list(), list():
            return len(told) == len(answered) and all(map(same, told, answered))
        case bool(), bool():
            return told == answered
        case ((int() | float()), (int() | float())):
            return type(told) is type(answered) and near(told, answered)
    return type(told) is type(answered) and (told == answered or key in VARIES)


def same_lines(told: str, answered: str) -> bool:
    if NUMBER.sub("0", told) != NUMBER.sub("0", answered):
        return False
    return all(map(near, map(number, NUMBER.findall(told)), map(number, NUMBER.findall(answered))))


def number(written: str) -> float:
    return float(written) if "." in written else int(written)


def agree(kind: str, told: str, answered: str) -> bool:
    if kind == "text":
        return same_lines(told, answered)
    head, _, body = told.rpartition("\n\n") if kind == "http" else ("", "", told)
    head_now, _, body_now = answered.rpartition("\n\n") if kind == "http" else ("", "", answered)
    return head == head_now and same(json.loads(body), json.loads(body_now))


@pytest.mark.parametrize("page", [page for page in PAGES if EXAMPLE.search(text(page))])
def test_the_examples_answer_what_the_page_tells(service: Service, page: str) -> None:
    service.names.clear()
    for language, code, kind, told in EXAMPLE.findall(text(page)):
        answered = service.answer(language, code, kind)
        assert agree(kind, told, answered), f"{code}\nanswers\n{answered}\nand not, as {page} tells,\n{told}"


def test_every_endpoint_has_its_section_and_an_example(openapi: Any) -> None:
    sections = dict(
        section.partition("\n")[::2]
        for page in PAGES
        for section in re.split(r"(?m)^## ", text(page))[1:]
        if page.startswith("endpoints/")
    )
    told = {re.sub(r" \{ #.*", "", heading): body for heading, body in sections.items()}
    for path, methods in openapi["paths"].items():
        for method in methods:
            assert EXAMPLE.search(told[f"{method.upper()} {path}"]), (method, path)


def test_the_tables_of_fields_are_the_openapis(openapi: Any) -> None:
    schemas = openapi["components"]["schemas"]
    tables = [found for page in PAGES for found in TABLE.findall(text(page))]
    for name, told in tables:
        assert told == table(schemas[name], schemas), name
    requests = {
        content["schema"]["$ref"].rpartition("/")[2]
        for methods in openapi["paths"].values()
        if "post" in methods
        for content in methods["post"]["requestBody"]["content"].values()
    }
    assert requests <= {name for name, _ in tables}


TOLD = '{"score": 0.5, "faces": [{"left": 100}], "version": "1", "name": "a", "processed": true}'


@pytest.mark.parametrize(
    ("part", "other"),
    [
        ("0.5", "0.52"),
        ("0.5", "1"),
        ("100", "102"),
        ('"a"', '"b"'),
        ("true", "false"),
        ("[{", "[{}, {"),
        ("score", "s"),
    ],
)
def test_an_answer_that_differs_would_be_seen(part: str, other: str) -> None:
    assert part in TOLD
    assert not agree("json", TOLD, TOLD.replace(part, other))
    assert not agree("http", f"HTTP/1.1 200 OK\n\n{TOLD}", f"HTTP/1.1 200 OK\n\n{TOLD.replace(part, other)}")


def test_what_machines_and_releases_differ_in_is_no_difference() -> None:
    assert agree("json", TOLD, TOLD.replace("0.5", "0.501").replace("100", "101").replace('"1"', '"2"'))
    assert agree("text", "0.92 Box(left=100)", "0.93 Box(left=101)")
    assert not agree("text", "0.92 Box(left=100)", "0.92 Box(left=102)")
    assert not agree("text", "0.92 Box(left=100)", "0.92 Box(top=100)")
    assert not agree("http", f"HTTP/1.1 422 Unprocessable Entity\n\n{TOLD}", f"HTTP/1.1 400 Bad Request\n\n{TOLD}")
