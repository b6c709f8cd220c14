"""The page's files: how they are served, and what must not be in them."""

import io
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from PIL import ExifTags, Image

from api.app import create_app
from api.page import FOLDER, page_api
from faces.templates import ARCFACE_TEMPLATE

PROJECT = Path(__file__).resolve().parents[2]
FILES = sorted(path.name for path in FOLDER.iterdir())
ADDRESSES = ["/", *(f"/page/{name}" for name in FILES if name != "index.html")]
SCRIPTS = [name for name in FILES if name.endswith(".js")]

TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "png": "image/png",
    "svg": "image/svg+xml",
    "webp": "image/webp",
}


def text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


Client = Callable[..., httpx.Response]


@pytest.fixture
def client(ask: Callable[..., httpx.Response]) -> Client:
    app = create_app(page_api)
    return lambda method, path, **options: ask(app, method, path, **options)


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_file_as_it_is_with_its_type(client: Client, address: str) -> None:
    answer = client("GET", address)
    name = address.removeprefix("/page/") if address != "/" else "index.html"
    assert answer.status_code == 200
    assert answer.content == (FOLDER / name).read_bytes()
    assert answer.headers["content-type"] == TYPES.get(name.rpartition(".")[2], "text/html; charset=utf-8")
    head = client("HEAD", address)
    assert head.status_code == 200
    assert head.headers == answer.headers


@pytest.mark.parametrize("address", ["/", "/page/main.js"])
def test_what_a_browser_may_do_with_it(client: Client, address: str) -> None:
    headers = client("GET", address).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' blob:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "camera=(self)" in headers["permissions-policy"]


def test_a_browser_asks_whether_a_file_has_changed_and_gets_it_only_then(client: Client) -> None:
    before = client("GET", "/").headers
    assert before["cache-control"] == "no-cache"
    for known in (before["etag"], f"W/{before['etag']}", f'"other", {before["etag"]}'):
        answer = client("GET", "/", headers={"if-none-match": known})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["content-security-policy"] == before["content-security-policy"]
        assert answer.headers["etag"] == before["etag"]
    assert client("GET", "/", headers={"if-none-match": '"older"'}).status_code == 200
    assert client("GET", "/page/main.js").headers["etag"] != before["etag"]


@pytest.mark.parametrize(
    "path",
    [
        "/index.html",
        "/page",
        "/page/",
        "/page/index.html",
        "/page/nothing.js",
        "/page/main.js/",
        "/page/../service.py",
        "/page/..%2Fservice.py",
        "/page/%2e%2e/service.py",
        "/page/..%5Cservice.py",
        "/page//etc/passwd",
        "/page/main.js%00",
    ],
)
def test_there_is_nothing_else(client: Client, path: str) -> None:
    answer = client("GET", path)
    assert answer.status_code == 404
    assert set(answer.json()) == {"detail"}


@pytest.mark.parametrize("address", ["/", "/page/main.js"])
def test_files_are_read_and_no_more(client: Client, address: str) -> None:
    answer = client("POST", address)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


def test_it_is_no_part_of_the_contract(client: Client) -> None:
    assert client("GET", "/openapi.json").json()["paths"] == {}


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith((".js", ".css", ".html"))])
def test_no_address_but_relative_ones_below_the_page(name: str) -> None:
    # Those of SVG's namespace are names, and are asked for by nobody.
    content = text(name).replace("http://www.w3.org/2000/svg", "")
    assert re.findall(r"https?:|\bwss?:|@import|(?<!c)url\(", content) == []
    for address in re.findall(r"""(?:src|href|action)="([^"]*)"|from "([^"]*)\"""", content):
        assert re.fullmatch(r"page/[a-z.]+|docs|#main|\./[a-z]+\.js", "".join(address)), address


def test_nothing_in_the_page_runs_but_its_scripts() -> None:
    page = text("index.html")
    assert re.findall(r"<script(?![^>]* src=)[^>]*>|<style|\sstyle=|\son[a-z]+=|javascript:", page) == []
    sinks = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|setAttribute\(.style"
    assert [name for name in SCRIPTS if re.search(sinks, text(name))] == []


def test_the_key_is_kept_nowhere_but_in_the_tab() -> None:
    assert [
        name for name in SCRIPTS if re.search(r"localStorage|indexedDB|document\.cookie|caches\b", text(name))
    ] == []


def names(script: str) -> list[str]:
    return re.findall(r'^  "?([A-Za-z0-9-]+)"?: ', text(script), re.MULTILINE)


def test_both_languages_say_everything_that_is_said() -> None:
    english, korean = names("en.js"), names("ko.js")
    assert english == korean
    assert len(english) == len(set(english)) > 80
    said = set(re.findall(r'data-(?:text|label)="([^"]*)"', text("index.html")))
    for name in SCRIPTS:
        said |= set(re.findall(r'\bsay\("([^"]+)"', text(name)))
    assert said - set(english) == set()


def test_the_crops_are_of_the_services_own_template() -> None:
    found = re.findall(r"^  \[([\d.]+), ([\d.]+)\],$", text("align.js"), re.MULTILINE)
    assert [(float(x), float(y)) for x, y in found] == [tuple(point) for point in ARCFACE_TEMPLATE]


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_the_pictures_that_a_browser_is_tried_with_lie_on_their_side(kind: str) -> None:
    with Image.open(io.BytesIO((FOLDER / f"turned.{kind}").read_bytes())) as image:
        assert image.size == (2, 1)
        assert image.getexif()[ExifTags.Base.Orientation] == 6


def test_an_installed_service_has_it_too() -> None:
    setuptools = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert "page" in setuptools["packages"]
    assert setuptools["package-data"]["page"] == ["*"]
    assert [path.name for path in FOLDER.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith((".js", ".css", ".html"))])
def test_its_files_are_short(name: str) -> None:
    assert len(text(name).splitlines()) <= 300
