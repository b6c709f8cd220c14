"""The page when something goes wrong: a key, a file, the service itself, an answer that comes late."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.browsing import Page
from tests.e2e.running import PROJECT

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

ASTRONAUT = PROJECT / "docs" / "images" / "astronaut.jpg"
TWO = PROJECT / "docs" / "images" / "answer.jpg"


def error(status: int, detail: Any, **headers: str) -> str:
    """What to give answer_with, for that answer."""
    options = json.dumps({"status": status, "headers": headers})
    return f"return Promise.resolve(new Response({json.dumps(json.dumps({'detail': detail}))}, {options}))"


def test_a_refused_key_is_asked_for_again_and_the_right_one_goes_on_with_the_photo(page: Page) -> None:
    page.put(1, ASTRONAUT)
    assert page.text("#key-trouble").startswith("Enter the key first")
    assert page.text("#photo-1 .status") == "Waits for the key."
    assert page.focused().get_attribute("id") == "key-input"
    page.statuses = {401}
    page.enter_key("not-a-key")
    page.settle()
    assert page.text("#key-trouble").startswith("The service does not know this key")
    assert page.focused().get_attribute("id") == "key-input"
    assert page.find("#key-input").get_attribute("aria-invalid") == "true"
    assert page.text("#photo-1 .status") == "Waits for the key."
    page.enter_key("two words")
    assert page.text("#key-trouble").startswith("There are characters in this that no key has")
    page.find("#key-input").clear()
    page.enter_key()
    page.settle()
    assert page.text("#photo-1 .status").startswith("1 face.")
    assert not page.find("#key-form").is_displayed()


def test_a_file_that_the_service_refuses_is_told_in_words(page: Page, tmp_path: Path) -> None:
    page.enter_key()
    page.statuses = {413, 422}
    files = {
        "broken.jpg": (ASTRONAUT.read_bytes()[:20_000], "The file is damaged or incomplete."),
        "note.txt": (b"no picture", "This is no JPEG, PNG, WebP or BMP."),
        "large.jpg": (ASTRONAUT.read_bytes() + bytes(11 << 20), "The file is larger than this service takes."),
    }
    for name, (content, words) in files.items():
        file = tmp_path / name
        file.write_bytes(content)
        page.put(1, file)
        assert page.text("#photo-1 [role=alert]").startswith(words)
        assert page.text("#photo-1 .status") == ""
        assert page.all("#photo-1 .marks g, #photo-1 .face, #photo-1 .trouble button") == []
        assert not page.find("#code").is_displayed()
    page.put(1, ASTRONAUT)
    assert not page.find("#photo-1 .trouble").is_displayed()
    assert len(page.all("#photo-1 .marks g")) == 1


def test_what_may_go_well_the_next_time_can_be_tried_again(page: Page) -> None:
    page.enter_key()
    wait = {"Retry-After": "7"}
    for answer, words in (
        (error(429, "Too many.", **wait), "The service has more requests than it can take just now.\nTry again in 7 s"),
        (
            error(503, "Starting.", **wait),
            "The service is starting, stopping, or a part of it is down.\nTry again in 7",
        ),
        (error(504, "Late."), "The service took too long over this."),
        (error(500, "Unforeseen."), "The service did not take the request (status 500)."),
        # Of somebody on the way.
        (error(500, {"code": 7}), "The service did not take the request (status 500).\nTry again"),
        ("return Promise.resolve(new Response('null', {status: 500}))", "The service did not take the request"),
        ("return Promise.resolve(new Response('{}'))", "The service can\u2019t be reached."),
        ("return Promise.resolve(new Response('<html>', {status: 502}))", "The service can\u2019t be reached."),
        ("return Promise.reject(new TypeError('Failed to fetch'))", "The service can\u2019t be reached."),
    ):
        page.answer_with(answer)
        page.put(1, ASTRONAUT)
        assert page.text("#photo-1 [role=alert]").startswith(words)
    page.run("window.fetch = window.real")
    page.find("#photo-1 .trouble button").click()
    assert page.focused() == page.find("#photo-1 .status")  # for the button is no more
    page.settle()
    assert page.text("#photo-1 .status").startswith("1 face.")
    page.answer_with(f"if (url.endsWith('detect')) return real(url, options); {error(429, 'Too many.', **wait)}")
    page.put(2, TWO)
    assert page.text("#comparison-trouble").startswith("The service has more requests")
    page.run("window.fetch = window.real")
    page.find("#comparison-trouble button").click()
    page.settle()
    assert page.text("#comparison-status").startswith("Likely different people.")
    page.answer_with(f"if (url.endsWith('detect')) return real(url, options); {error(401, 'No such key.')}")
    page.put(2, ASTRONAUT)
    assert page.text("#key-trouble").startswith("The service does not know this key")
    assert not page.find("#comparison").is_displayed()


def test_a_file_that_is_no_more_is_not_the_services_fault(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "photo.jpg"
    shutil.copy(ASTRONAUT, file)
    page.enter_key()
    page.put(1, file)
    file.unlink()
    page.answer_with("return Promise.reject(new TypeError('Failed to fetch'))")
    page.find("#order option[value='1']").click()
    page.until(lambda: page.find("#photo-1 .trouble").is_displayed())
    assert page.text("#photo-1 [role=alert]").startswith("The browser can\u2019t read this file")
    assert page.all("#photo-1 .trouble button") == []


def test_an_answer_that_comes_late_is_not_shown_over_a_newer_one(page: Page) -> None:
    page.enter_key()
    # The first one is answered when the second one has been, and although it was given up.
    page.answer_with(
        """
        const answer = new Response(JSON.stringify({ seq: 0, faces: [] }));
        if (window.asked.length === 1) return new Promise((done) => { window.late = () => done(answer); });
        return real(url, options);
        """
    )
    page.find("#photo-1 input[type=file]").send_keys(str(TWO))
    page.until(lambda: page.run("return window.asked.length"))
    page.put(1, ASTRONAUT)
    assert (
        page.wait_for("window.late(); await new Promise((done) => setTimeout(done)); return window.asked.length") == 2
    )
    assert page.text("#photo-1 .status").startswith("1 face.")
    assert "astronaut.jpg" in page.text("#photo-1 figcaption")


def test_what_the_browser_cannot_show_is_told_in_words(page: Page) -> None:
    page.enter_key()
    page.run("const real = URL.createObjectURL; URL.createObjectURL = () => real.call(URL, new Blob(['no picture']))")
    page.put(1, TWO)
    assert "This browser can\u2019t show the picture" in page.text("#photo-1 figcaption")
    assert page.text("#photo-1 .status").startswith("2 faces.")
    assert [card.text.split("\n")[0] for card in page.all("#photo-1 .face")] == ["Face 1", "Face 2"]
    assert page.all("#photo-1 canvas, #photo-1 .marks g") == []
    assert len(json.loads(page.text("pre.json"))["faces"]) == 2


def test_pictures_are_let_go_of(page: Page) -> None:
    page.enter_key()
    page.run(
        """
        window.held = new Set();
        const [make, revoke] = [URL.createObjectURL, URL.revokeObjectURL];
        URL.createObjectURL = (blob) => { const url = make.call(URL, blob); held.add(url); return url; };
        URL.revokeObjectURL = (url) => { held.delete(url); revoke.call(URL, url); };
        """
    )
    for photo in (ASTRONAUT, TWO, ASTRONAUT):
        page.put(1, photo)
        assert page.run("return held.size") == 1
    page.find("#photo-1 .remove").click()
    assert page.run("return held.size") == 0
    assert re.sub(r"\s", "", page.text("#photo-1 .status")) == ""
