"""The documentation as a site: built without a warning, it loads nothing from elsewhere, and its links lead on."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import docs.elsewhere
from api.errors import ANSWERS, DeadlineExceededError, TooManyRequestsError
from runners.errors import RunnerUnavailableError

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
# What a browser fetches by itself; a link is only followed by people.
LOADED = {
    ("script", "src"),
    ("img", "src"),
    ("img", "srcset"),
    ("source", "src"),
    ("source", "srcset"),
    ("link", "href"),
}
LOADED |= {(tag, "src") for tag in ("iframe", "video", "audio", "embed", "input", "track")} | {("object", "data")}
TEXTS = ("p", "td", "li")
EMPTY = ("br", "hr", "img", "input", "link", "meta")


class PageParser(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.without_words: list[str] = []  # pictures
        self.texts: list[str] = []  # of paragraphs, items and cells, without what is code
        self._within: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        if tag in TEXTS:
            self.texts.append("")
        if tag not in EMPTY:
            self._within.append(tag)
        self.anchors |= {told[name] for name in ("id", "name") if name in told}
        self.loads += [told[name] for name in told if (tag, name) in LOADED and told.get("rel") not in ("prev", "next")]
        self.loads += re.findall(r"url\(([^)]*)\)", told.get("style", ""))
        if tag == "a" and "href" in told:
            self.links.append(told["href"])
        if tag == "img" and not told.get("alt"):
            self.without_words.append(told["src"])

    def handle_endtag(self, tag: str) -> None:
        if tag in self._within:
            while self._within.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        within = set(self._within)
        if "article" in within and within.intersection(TEXTS) and not within & {"h1", "h2", "h3", "pre"}:
            self.texts[-1] += "code" if self._within[-1:] == ["code"] else data


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, PageParser]:
    return {page: PageParser(page.read_text(encoding="utf-8")) for page in sorted(site.rglob("*.html"))}


def is_elsewhere(address: str) -> bool:
    return bool(urlsplit(address.strip("'\" ")).netloc)


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, PageParser]) -> None:
    assert not [(page.name, load) for page, parsed in pages.items() for load in parsed.loads if is_elsewhere(load)]
    for style in site.rglob("*.css"):
        addresses = re.findall(r"(?:url\(|@import\s+)['\"]?([^'\")\s;]+)", style.read_text(encoding="utf-8"))
        assert not [address for address in addresses if not address.startswith("data:") and is_elsewhere(address)]
    # What Material's script would load for a diagram, and tell of a repository: there is neither.
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert 'class="mermaid"' not in text
        assert 'data-md-component="source"' not in text


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://unpkg.com/iframe-worker/shim"></script>',
        '<link rel="stylesheet" href="//fonts.googleapis.com/css">',
        '<img alt="a face" src="http://example.org/face.jpg">',
        '<p style="background: url(https://example.org/face.jpg)">',
    ],
)
def test_a_load_from_elsewhere_would_be_seen(html: str) -> None:
    assert any(map(is_elsewhere, PageParser(html).loads))


def test_every_link_leads_somewhere(site: Path, pages: dict[Path, PageParser]) -> None:
    dead = []
    for page, parsed in pages.items():
        for address in [*parsed.links, *parsed.loads]:
            if urlsplit(address).scheme or not address:
                continue
            path, _, anchor = unquote(address).partition("#")
            # Where a page is missing is not known beforehand: 404.html alone has its links from the root on.
            there = (page.parent / path if not path.startswith("/") else site / path[1:]).resolve() if path else page
            there = there / "index.html" if there.is_dir() else there
            if not there.is_file() or (anchor and there in pages and anchor not in pages[there].anchors):
                dead.append((str(page.relative_to(site)), address))
    assert not dead


def test_a_page_is_in_one_language(site: Path) -> None:
    """What Material itself says on it, too."""
    for page, language, contents in (("ko/quick-start.html", "ko", "목차"), ("index.html", "en", "Table of contents")):
        text = (site / page).read_text(encoding="utf-8")
        assert f'<html lang="{language}"' in text
        assert set(re.findall(r'for="__toc">\s*<span[^>]*></span>\s*(.*?)\s*</label>', text)) == {contents}


def test_pictures_have_words(pages: dict[Path, PageParser]) -> None:
    assert not [(page.name, picture) for page, parsed in pages.items() for picture in parsed.without_words]


def test_lists_tables_and_blocks_are_told_apart(pages: dict[Path, PageParser]) -> None:
    # Python-Markdown wants an empty line around them and four spaces within lists, where others are content with less.
    stray = re.compile(r"(?m)^\s*(?:[-*] |\d+\. [A-Z]|\||```|#+ ).*")
    assert not [(page.name, found[0]) for page in pages for text in pages[page].texts if (found := stray.search(text))]


def test_no_page_names_a_place_on_a_machine(pages: dict[Path, PageParser]) -> None:
    place = re.compile(rf"{re.escape(str(ROOT))}|/(?:home|Users|root|work)/(?!me/)\w")  # /home/me is nobody's
    assert not [(page.name, found[0]) for page in pages if (found := place.search(page.read_text(encoding="utf-8")))]


def linked() -> Iterator[tuple[Path, str]]:
    """The links of what is read in the repository itself, and the docs that comments and messages name."""
    for page in [*ROOT.glob("*.md"), *(ROOT / "deploy").rglob("*.md"), *DOCS.rglob("*.md")]:
        for link in docs.elsewhere.LINK.findall(page.read_text(encoding="utf-8")):
            yield page, str((page.parent / link).resolve())
    named = re.compile(r"\bdocs/[\w/.-]+\.(?:md|jpg|png|svg)")
    sources = [
        "*.py",
        "*.toml",
        "Makefile",
        *(f"{each}/**/*.*" for each in ("api", "cli", "deploy", "models", "runners")),
    ]
    for source in [file for pattern in sources for file in ROOT.glob(pattern) if file.suffix not in (".pyc", ".onnx")]:
        for name in named.findall(source.read_text(encoding="utf-8")):
            yield source, str(ROOT / name)


def test_what_the_repository_links_to_is_there() -> None:
    links = list(linked())
    assert len(links) > 50
    assert not [(str(file.relative_to(ROOT)), target) for file, target in links if not Path(target).exists()]


def test_every_decision_is_listed() -> None:
    listed = (DOCS / "decisions" / "README.md").read_text(encoding="utf-8")
    for record in DOCS.glob("decisions/0*.md"):
        number, _, title = record.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ").partition(". ")
        assert f"[{number}]({record.name}) | {title} |" in listed


def test_every_kind_of_error_is_told() -> None:
    page = (DOCS / "endpoints" / "errors.md").read_text(encoding="utf-8")
    assert not {answer.type for answer in ANSWERS.values() if answer.type} - set(re.findall(r"`(\w+)`", page))
    # Of those that a test can't provoke cheaply, the headers at least.
    for error, status in ((TooManyRequestsError, 429), (RunnerUnavailableError, 503), (DeadlineExceededError, 504)):
        answer = ANSWERS[error]
        assert answer.status == status
        headers = "".join(f"{name.lower()}: {value}\n" for name, value in answer.headers.items())
        assert re.search(rf"HTTP/1.1 {status} [\w ]+\n{headers}\n", page), error
