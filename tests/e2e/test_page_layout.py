"""How the page looks: on a phone, in the dark, with all that it can show, and to who reads it with other means."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from axe_core_python.base import AXE_SCRIPT  # type: ignore[import-untyped]
from numpy.typing import NDArray
from PIL import Image

from tests.e2e.browsing import Page
from tests.e2e.running import PROJECT

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

ASTRONAUT = PROJECT / "docs" / "images" / "astronaut.jpg"
TWO = PROJECT / "docs" / "images" / "two-people.jpg"

# To be run after what draws the page anew, for the test shall not rest on whether that keeps them open.
OPEN = """
const all = [...document.querySelectorAll("details")];
for (const each of all) each.open = true;
return all.length;
"""

AXE = """
const rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const { violations } = await axe.run({ runOnly: rules });
return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html}: ${node.failureSummary}`));
"""


def test_rules_of_accessibility_hold_in_both_themes_and_languages(page: Page, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no picture", encoding="utf-8")
    page.statuses = {422}
    page.run(AXE_SCRIPT)
    assert page.wait_for(AXE) == []
    page.enter_key()
    page.put(1, TWO)
    page.put(2, ASTRONAUT)
    for theme, language in (("light", "en"), ("dark", "ko"), ("dark", "en")):
        page.look(theme=theme)
        page.find(f"[data-language={language}]").click()
        assert page.run(OPEN) == 3
        assert page.wait_for(AXE) == []
    page.put(1, tmp_path / "note.txt")
    assert page.wait_for(AXE) == []


def test_nothing_is_wider_than_what_it_lies_in(page: Page) -> None:
    wider = """
        return ["html", "body", ".card"].flatMap((each) => [...document.querySelectorAll(each)])
            .filter((each) => each.clientWidth && each.scrollWidth > each.clientWidth)
            .map((each) => `${each.tagName} ${each.id}: ${each.scrollWidth} in ${each.clientWidth}`);
        """
    page.look(width=320, height=640, density=2)
    assert page.run(wider) == []
    page.enter_key()
    page.put(1, TWO)
    page.put(2, TWO)  # a score of 1, at the scale's end
    for language in ("en", "ko"):
        page.find(f"[data-language={language}]").click()
        assert page.run(OPEN) == 3
        for width in (320, 360, 700, 1280):
            page.look(width=width, height=640, density=2)
            assert page.run("return innerWidth") == width
            assert page.run(wider) == []
        tables = "return [...document.querySelectorAll('.scrolled')].map((each) => each.scrollWidth > each.clientWidth)"
        page.look(width=320)
        assert page.run(tables) == [True] * 3  # what does not fit is there to scroll to
        assert page.find("#comparison .bar").size["width"] > 150  # below the two faces, not between them


def test_what_was_opened_stays_open_in_another_language(page: Page) -> None:
    page.enter_key()
    page.put(1, TWO)
    page.put(2, ASTRONAUT)
    for part in ("#photo-1", "#comparison"):
        page.find(f"{part} summary").click()
    page.find("[data-language=ko]").click()
    assert page.text("#photo-1 summary") == "전체 수치"
    opened = "return [...document.querySelectorAll('details')].map((each) => each.open)"
    assert page.run(opened) == [True, False, True]


def test_no_tag_is_cut_off(page: Page, astronaut: NDArray[np.uint8], tmp_path: Path) -> None:
    def tags() -> list[dict[str, float]]:
        """Edges of each in the stage, with the size of the stage and the top of the box, in pixels of the screen."""
        seen: list[dict[str, float]] = page.run(
            """
            const stage = document.querySelector("#photo-1 .stage");
            const { left, top, width, height } = stage.getBoundingClientRect();
            const boxes = [...stage.querySelectorAll(".box:not(.under)")].map((each) => each.getBoundingClientRect());
            return [...stage.querySelectorAll(".tags span")].map((tag, index) => {
                const edges = tag.getBoundingClientRect();
                return {
                    left: edges.left - left, right: edges.right - left, top: edges.top - top,
                    bottom: edges.bottom - top, width, height, box: boxes[index].top - top,
                };
            });
            """
        )
        for tag in seen:
            assert 0 <= tag["left"] < tag["right"] <= tag["width"]
            assert 0 <= tag["top"] < tag["bottom"] <= tag["height"]
            assert tag["bottom"] - tag["top"] > 18
        return seen

    small = tmp_path / "small.png"
    Image.fromarray(astronaut[70:182, 168:280]).save(small)
    page.enter_key()
    page.look(width=320, density=2)
    page.put(1, TWO)
    assert len(tags()) == 2
    page.put(1, small)
    assert "112 \u00d7 112" in page.text("#photo-1 figcaption")
    [tag] = tags()
    assert tag["width"] == tag["height"] > 200
    # At each edge and in each corner, and just where the room above a box ends.
    places = [*product((0, 50, 101), (0, 50, 101)), *((50, top) for top in range(4, 12))]
    boxes = [{"left": left, "top": top, "right": left + 10, "bottom": top + 10} for left, top in places]
    faces = [{"boundingBox": box, "confidence": 0.5, "landmarks": []} for box in boxes]
    body = json.dumps({"seq": 0, "faces": faces})
    page.answer_with(f"return Promise.resolve(new Response({json.dumps(body)}))")
    page.find("#order option[value='1']").click()
    page.settle()
    for width in (320, 1280):
        page.look(width=width)
        seen = tags()
        assert len(seen) == len(places)
        above = [tag["bottom"] <= tag["box"] for tag in seen[9:]]
        assert {True, False} == set(above)
        assert all(tag["top"] == 0 for tag, is_above in zip(seen[9:], above, strict=True) if not is_above)


def test_what_a_screen_reader_speaks_is_set_once(page: Page) -> None:
    page.enter_key()
    page.run(
        """
        window.spoken = [];
        const hear = (records) => {
            for (const each of new Set(records.map(({ target }) => target.closest("[role]")))) {
                if (each.textContent) spoken.push(`${each.parentElement.id}: ${each.textContent}`);
            }
        };
        const observer = new MutationObserver(hear);
        const options = { childList: true, characterData: true, subtree: true };
        for (const each of document.querySelectorAll("[role=status], [role=alert]")) observer.observe(each, options);
        """
    )
    page.put(1, TWO)
    page.put(2, ASTRONAUT)
    page.find("[data-language=ko]").click()
    page.answer_with("return Promise.resolve(new Response('{}', { status: 429 }))")
    page.put(2, TWO)
    spoken = page.run("return spoken")
    assert len(spoken) > 8
    assert len(set(spoken)) == len(spoken)


def test_it_is_dark_where_the_system_is(page: Page) -> None:
    def brightness(of: str) -> float:
        colour = page.run(f"return getComputedStyle(document.body).{of}")
        return float(np.mean([float(part) for part in colour[4:-1].split(",")]))

    page.look(theme="light")
    assert brightness("backgroundColor") - brightness("color") > 150
    page.look(theme="dark")
    assert brightness("color") - brightness("backgroundColor") > 150


def test_what_is_told_by_colour_is_told_where_the_system_sets_the_colours(page: Page) -> None:
    page.enter_key()
    page.put(1, ASTRONAUT)
    page.put(2, ASTRONAUT)
    page.cdp("Emulation.setEmulatedMedia", features=[{"name": "forced-colors", "value": "active"}])
    of = "return getComputedStyle(document.querySelector(arguments[0]), arguments[1])[arguments[2]]"
    ground = page.run(of, "#comparison", None, "backgroundColor")
    for mark, part in ((".bar .line", None), (".pin", "::after")):
        assert page.run(of, mark, part, "backgroundColor") != ground
    chosen, other = (page.run(of, f"[data-language={each}]", None, "outlineStyle") for each in ("en", "ko"))
    assert (chosen, other) == ("solid", "none")
