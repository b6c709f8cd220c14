"""How the description at /docs is served."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from api.app import create_app
from api.docs import FOLDER, SWAGGER_UI, docs_api

PROJECT = Path(__file__).resolve().parents[2]
FILES = {
    "/docs": (FOLDER / "index.html", "text/html; charset=utf-8"),
    "/docs/start.js": (FOLDER / "start.js", "text/javascript; charset=utf-8"),
    "/static-offline-docs/swagger-ui-bundle.js": (
        SWAGGER_UI / "swagger-ui-bundle.js",
        "text/javascript; charset=utf-8",
    ),
    "/static-offline-docs/swagger-ui.css": (SWAGGER_UI / "swagger-ui.css", "text/css; charset=utf-8"),
    "/static-offline-docs/favicon.png": (SWAGGER_UI / "favicon.png", "image/png"),
}
Client = Callable[..., httpx.Response]


@pytest.fixture
def client(ask: Callable[..., httpx.Response]) -> Client:
    app = create_app(docs_api)
    return lambda method, path, **options: ask(app, method, path, **options)


@pytest.mark.parametrize("address", FILES)
def test_every_file_as_it_is_and_what_a_browser_may_do_with_it(client: Client, address: str) -> None:
    answer = client("GET", address)
    path, kind = FILES[address]
    assert answer.status_code == 200
    assert answer.content == path.read_bytes()
    headers = answer.headers
    assert headers["content-type"] == kind
    # On the page's origin: what ran here could read the key, and who framed it could have a key typed.
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    head = client("HEAD", address)
    assert head.status_code == 200
    assert head.headers == headers
    known = client("GET", address, headers={"if-none-match": headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/docs/",
        "/docs/index.html",
        "/docs/oauth2-redirect",
        "/redoc",
        "/static-offline-docs/",
        "/static-offline-docs/redoc.standalone.js",
        "/static-offline-docs/..%2Fcore.py",
        "/static-offline-docs/../core.py",
    ],
)
def test_there_is_nothing_else(client: Client, path: str) -> None:
    assert client("GET", path).status_code == 404


def test_it_is_no_part_of_the_contract(client: Client) -> None:
    assert client("GET", "/openapi.json").json()["paths"] == {}


def test_all_addresses_are_relative() -> None:
    for path in FOLDER.iterdir():
        text = path.read_text(encoding="utf-8")
        assert "://" not in text
        assert '="/' not in text


def test_an_installed_service_has_it_too() -> None:
    setuptools = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert "swagger" in setuptools["packages"]
    assert setuptools["package-data"]["swagger"] == ["*"]
