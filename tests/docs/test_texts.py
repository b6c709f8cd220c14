"""What the pages on migration, models, responsible use and questions say, held against the code."""

import base64
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from api.app import create_app
from api.endpoints import faces_api
from api.info import info_api
from api.settings import PREFIX, Settings
from cli.main import main
from faces import feature
from models.catalog import ModelDescription, catalog

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [
    *sorted((DOCS / "migration").glob("*.md")),
    *(DOCS / f"{name}.md" for name in ("faq", "models", "responsible-use")),
]
MIGRATION = (DOCS / "migration" / "index.md").read_text(encoding="utf-8")
MODELS = (DOCS / "models.md").read_text(encoding="utf-8")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table behind the line that begins with heading, less its own two lines."""
    table = re.search(r"(?:^\|.*\n)+", text[text.index(heading) :], re.MULTILINE)
    assert table is not None
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]


def anchors(page: Path) -> set[str]:
    """What its headings are called in links: by GitHub, and by the site's generator."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"(?m)^#+ (.*?)(?: \{ #(\S+) \})?$", text)
    plain = (re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading, _ in headings)
    return {re.sub(r"[-\s]+", "-", heading) for heading in plain} | {name for _, name in headings}


@pages
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith("https://")]
    for link in links:
        name, _, anchor = link.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.is_file(), link
        assert linked.is_relative_to(DOCS), f"{link} is not on the site"
        assert not anchor or anchor in anchors(linked), link


@pages
def test_settings_are_the_services(page: Path) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    assert set(re.findall(rf"\b{PREFIX}[A-Z_]+", page.read_text(encoding="utf-8"))) <= known


@pages
def test_commands_are_the_command_lines(page: Path) -> None:
    for words in re.findall(r"\bfacebento models [a-z]+|`facebento [a-z]+", page.read_text(encoding="utf-8")):
        command: click.Command | None = main
        for word in words.split()[1:]:
            assert isinstance(command, click.Group)
            command = command.get_command(click.Context(command), word)
        assert command is not None, words


@pages
def test_endpoints_are_the_services(page: Path) -> None:
    """Those in the last column of a table, which tells what is here, and all of pages that tell of nobody else."""
    text = page.read_text(encoding="utf-8")
    told = (
        text
        if page.parent == DOCS
        else "\n".join(line.split("|")[-2] for line in text.splitlines() if line.endswith("|"))
    )
    paths = {path.replace("{model_name}", "NAME") for path in create_app(info_api, faces_api).openapi()["paths"]}
    found = set(re.findall(r"/v1/[\w/-]+", re.sub(r"https://\S+|/v1/file/\.\.\.", "", told)))
    models = {f"/v1/info/model/{name}" for name in catalog()}
    assert found <= paths | models


def test_thresholds_of_others_are_these_scores() -> None:
    table = rows(MIGRATION, "What comes out for models that both have:")
    assert len(table) == 4
    for _, threshold, cosine, model, score in table:
        kind, _, number = threshold.rpartition(" ")
        assert float(cosine) == pytest.approx(1 - float(number) if "distance" in kind else float(number))
        embedder = catalog()[model.strip("`")].embedder
        assert embedder is not None
        assert embedder.mapping.score(float(cosine)) == pytest.approx(float(score), abs=5e-4)


def test_similarities_of_compreface_are_these_cosines() -> None:
    text = (DOCS / "migration" / "compreface.md").read_text(encoding="utf-8")
    for _, a, b, *cosines in rows(text, "with two numbers for each model."):
        for similarity, cosine in zip((0.5, 0.9, 0.98), cosines, strict=True):
            distance = float(a) - math.atanh(2 * similarity - 1) / float(b)
            assert 1 - distance**2 / 2 == pytest.approx(float(cosine), abs=5e-4)


def functions(text: str) -> dict[str, Callable[..., Any]]:
    """What the page's Python defines."""
    defined: dict[str, Callable[..., Any]] = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, defined)  # noqa: S102 - the page's own
    return defined


def test_the_score_of_the_page_is_the_services() -> None:
    score = functions(MIGRATION)["score"]
    mapping = feature.ScoreMapping(cosine=0.92, steepness=4)
    assert [score(c, 0.92, 4) for c in (-1, 0, 0.92, 1)] == pytest.approx([mapping.score(c) for c in (-1, 0, 0.92, 1)])


def test_the_feature_of_the_page_is_one() -> None:
    vector = np.arange(1, 129, dtype=np.float32)
    fingerprint = bytes(range(16))
    made = functions(MIGRATION)["feature"](vector, fingerprint.hex())
    unit = (vector / np.linalg.norm(vector)).astype(np.float32)
    assert base64.b64decode(made) == feature.encode(unit, fingerprint)


@pages
def test_python_can_be_read(page: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        compile(block, page.name, "exec")


def test_every_model_is_told() -> None:
    told = {cells[0].strip("`"): cells[1:] for cells in rows(MODELS, "## The catalog")}
    assert told.keys() == catalog().keys()
    for name, (role, size, dimensions, licence, threshold, file) in told.items():
        model = catalog()[name]
        assert role == model.role + (", starter" if model.starter else "")
        assert size == f"{model.input.size} x {model.input.size} {model.input.color}"
        assert dimensions == (str(model.embedder.dimensions) if model.embedder else "")
        assert licence == model.licence
        assert threshold == thresholds(model)
        assert file.lower().endswith(model.format)
        assert f"\n### {name}\n" in MODELS


def thresholds(model: ModelDescription) -> str:
    if model.detector:
        return f"confidence {model.detector.score_threshold:g}, overlap {model.detector.iou_threshold:g}"
    assert model.embedder is not None
    mapping = model.embedder.mapping
    return f"cosine {mapping.cosine:g}, steepness {mapping.steepness:g}"


@pytest.mark.parametrize("run", ["two-cores-centerface", "two-cores-yunet"])
def test_speeds_are_those_of_the_kept_runs(run: str) -> None:
    kept = (DOCS / "benchmarks" / run / "README.md").read_text(encoding="utf-8")
    detector = re.search(r"FACEBENTO_DETECTOR=(\S+)", kept)
    assert detector is not None
    measured = {cells[0]: cells[3].split()[0] for cells in rows(kept, "## 16 clients against the ceiling")}
    told = {cells[0].strip("`"): cells[1:3] for cells in rows(MODELS, "Speed on two cores")}
    assert told[detector[1]] == [measured["embeddings"], measured["detect"]]
