"""The page and whoever uses it: by camera, by keyboard, by dragging and pasting, in Korean."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.e2e.browsing import Page
from tests.e2e.running import PROJECT, encoded

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

ASTRONAUT = PROJECT / "docs" / "images" / "astronaut.jpg"
TWO = PROJECT / "docs" / "images" / "answer.jpg"


def test_a_photo_of_the_camera(page: Page) -> None:
    page.enter_key()
    page.cdp("Browser.grantPermissions", permissions=["videoCapture"], origin=page.server.url)
    page.find("#photo-1 .by-camera").click()
    page.until(lambda: page.find("#camera-take").is_enabled())
    assert page.focused().get_attribute("id") == "camera-take"
    page.run("window.track = document.querySelector('video').srcObject.getTracks()[0]")
    page.focused().send_keys(Keys.ENTER)
    page.until(lambda: "camera.jpg" in page.text("#photo-1 figcaption"))
    page.settle()
    assert not page.find("#camera").is_displayed()
    assert page.run("return window.track.readyState") == "ended"  # its light goes out
    assert page.text("#photo-1 .status").startswith("No face was found.")  # in the test picture
    # Of cameras that are asked for before the last one was there, all but the newest are let go of.
    page.run(
        """
        window.real = navigator.mediaDevices.getUserMedia;
        window.tracks = [];
        let allow;
        const allowed = new Promise((done) => { allow = done; });
        navigator.mediaDevices.getUserMedia = async () => {
            const canvas = document.createElement("canvas");
            canvas.getContext("2d").fillRect(0, 0, 9, 9);
            const stream = canvas.captureStream();
            tracks.push(...stream.getTracks());
            await allowed;
            return stream;
        };
        const press = (button) => document.querySelector(button).click();
        ["#photo-1 .by-camera", "#camera-other", "#camera-other"].forEach(press);
        allow();
        """
    )
    page.until(lambda: page.run("return tracks.length === 3") and page.find("#camera-take").is_enabled())
    assert page.run("return tracks.map((each) => each.readyState)") == ["ended", "ended", "live"]
    page.find("#camera-close").click()
    page.until(lambda: page.run("return tracks.every((each) => each.readyState === 'ended')"))
    # Closed and opened again at once, the second has its camera although the first's end is told only now.
    closed = """
        const dialog = document.querySelector("#camera");
        const told = new Promise((done) => dialog.addEventListener("close", done, { once: true }));
        const press = (button) => document.querySelector(button).click();
        ["#photo-1 .by-camera", "#camera-close", "#photo-2 .by-camera"].forEach(press);
        await told;
        """
    page.wait_for(closed)
    page.until(lambda: page.find("#camera-take").is_enabled())
    assert page.run("return tracks.map((each) => each.readyState)") == [*["ended"] * 4, "live"]
    page.find("#camera-take").click()
    page.until(lambda: "camera.jpg" in page.text("#photo-2 figcaption"))
    assert page.run("return tracks.at(-1).readyState") == "ended"
    page.settle()
    page.run("navigator.mediaDevices.getUserMedia = window.real")
    # Refused, and where no browser gives it to a page.
    page.cdp("Browser.setPermission", permission={"name": "camera"}, setting="denied", origin=page.server.url)
    for words in ("The camera is not allowed for this page.", "Browsers give a page the camera only over https"):
        page.find("#photo-2 .by-camera").click()
        page.until(lambda: page.find("#camera-trouble").is_displayed())
        assert page.text("#camera-trouble").startswith(words)
        page.focused().send_keys(Keys.ESCAPE)
        page.until(lambda: not page.find("#camera").is_displayed())
        assert "by-camera" in str(page.focused().get_attribute("class"))
        page.run("Object.defineProperty(window, 'isSecureContext', { value: false })")


def test_photos_are_dropped_and_pasted(page: Page) -> None:
    page.enter_key()
    script = """
        const transfer = new DataTransfer();
        for (const [name, text] of arguments[2]) {
            const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
            transfer.items.add(new File([bytes], name, { type: "image/jpeg" }));
        }
        const [kind, selector, , text] = arguments;
        if (text) transfer.setData("text/plain", text);
        const options = { bubbles: true, cancelable: true, dataTransfer: transfer, clipboardData: transfer };
        const event = kind === "paste" ? new ClipboardEvent(kind, options) : new DragEvent(kind, options);
        return !document.querySelector(selector).dispatchEvent(event);
        """
    one, two = (["one.jpg", encoded(ASTRONAUT.read_bytes())], ["two.jpg", encoded(TWO.read_bytes())])
    page.run(script, "paste", "body", [one])
    page.settle()
    assert page.text("#photo-1 .status").startswith("1 face.")
    assert page.run(script, "dragover", "#photo-2 .drop", [two])  # without which the browser would open it itself
    assert "dragged-over" in str(page.find("#photo-2").get_attribute("class"))
    assert page.run(script, "drop", "#photo-2 .drop", [two])
    page.settle()
    assert page.text("#photo-2 .status").startswith("2 faces.")
    assert page.run(script, "drop", "footer", [one, one])
    page.settle()
    assert [page.text(f"#photo-{number} .status")[:7] for number in (1, 2)] == ["1 face."] * 2
    page.run(script, "paste", "body", [])
    assert page.text("#comparison-status").startswith("Likely the same person. Score 1.000.")
    # Text may go into a field for text. Elsewhere it is told that a file is wanted, and the photo stays.
    link = "https://example.org/photo.jpg"
    for kind in ("dragover", "drop"):
        assert not page.run(script, kind, "#most", [], link)
    assert not page.find("#photo-2 .trouble").is_displayed()
    assert page.run(script, "dragover", "#photo-2 figure", [], link)
    assert "dragged-over" not in str(page.find("#photo-2").get_attribute("class"))
    assert page.run(script, "drop", "#photo-2 figure", [], link)
    assert page.text("#photo-2 [role=alert]").startswith("That was text or a link, and no file.")
    page.find("[data-language=ko]").click()
    assert page.text("#photo-2 [role=alert]").startswith("파일이 아니라")
    page.find("[data-language=en]").click()
    assert page.text("#photo-2 .status").startswith("1 face.")
    assert page.run(script, "drop", "#key", [two])  # a file is none for a field
    page.settle()
    assert page.text("#photo-2 .status").startswith("2 faces.")
    assert not page.find("#photo-2 .trouble").is_displayed()


def test_all_of_it_by_keyboard_and_with_a_focus_to_be_seen(page: Page) -> None:
    def tab_to(what: str) -> None:
        for _ in range(30):
            ActionChains(page.driver).send_keys(Keys.TAB).perform()
            seen = page.run(
                """
                const focused = document.activeElement;
                const shown = focused.closest(".button") ?? focused;
                return [focused.matches(arguments[0]), getComputedStyle(shown).outlineStyle];
                """,
                what,
            )
            assert seen[1] == "solid"
            if seen[0]:
                return
        pytest.fail(f"{what} is not to be reached")

    def press(key: str) -> None:
        ActionChains(page.driver).send_keys(key).perform()

    tab_to(".skip")
    press(Keys.ENTER)
    assert page.focused().get_attribute("id") == "main"
    tab_to("#key-input")
    press(page.server.key)
    press(Keys.ENTER)
    assert page.focused().get_attribute("id") == "key-forget"
    tab_to("#order")
    tab_to("#most")
    tab_to("#photo-1 input[type=file]")
    page.focused().send_keys(str(TWO))
    page.settle()
    tab_to("#photo-1 .by-camera")
    tab_to("#photo-1 .remove")
    tab_to("#photo-1 li:nth-child(2) .face")
    press(Keys.SPACE)
    assert page.focused().get_attribute("aria-pressed") == "true"
    looked_at = "return [...document.querySelectorAll('#photo-1 .marks g')].map((g) => g.matches('.looked-at'))"
    assert page.run(looked_at) == [False, True]
    tab_to("#photo-1 summary")
    assert page.run(looked_at) == [False, True]  # pressed, it stays so
    press(Keys.ENTER)
    tab_to("#photo-1 .scrolled")
    tab_to("#photo-2 input[type=file]")
    page.focused().send_keys(str(ASTRONAUT))
    page.settle()
    tab_to("#comparison summary")
    tab_to("#code-of")
    tab_to(".code:nth-child(1) button")
    tab_to("pre.json")


def test_what_is_copied_does_what_the_page_did(page: Page, tmp_path: Path) -> None:
    name = 'it\'s "me"; a; b.jpg'
    shutil.copy(ASTRONAUT, tmp_path / name)
    page.enter_key()
    page.run("document.querySelector('#most').value = '5'")
    page.find("#order option[value='1']").click()
    page.put(1, tmp_path / name)
    page.cdp("Browser.grantPermissions", permissions=["clipboardReadWrite"], origin=page.server.url)
    copied = []
    for block in (1, 2, 3):
        page.find(f".code:nth-child({block}) button").click()
        page.until(lambda: page.text("#copied") == "Copied.")
        copied.append(page.wait_for("return navigator.clipboard.readText()"))
        page.run("document.querySelector('#copied').textContent = ''")
    curl, python, answer = copied
    assert page.server.key not in "".join(copied)
    environment = {
        "FACEBENTO_API_KEY": page.server.key,
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(PROJECT / "clients" / "python" / "src"),
    }

    def pasted(*command: str) -> str:
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True, text=True).stdout

    told = json.loads(answer)
    if (bash := shutil.which("bash")) and shutil.which("curl"):
        assert json.loads(pasted(bash, "-c", curl.replace("curl ", "curl -s ", 1))) == told
    assert "max_results=5, detect_sort_type=1" in python
    assert str(told["faces"][0]["confidence"]) in pasted(sys.executable, "-c", python)
    # On plain http from another machine there is no clipboard to write to.
    page.run("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.find(".code:nth-child(1) button").click()
    assert page.wait_for("return getSelection().toString()") == curl


def test_korean_is_chosen_by_the_browser_or_by_hand_and_remembered(page: Page) -> None:
    assert page.run("return document.documentElement.lang") == "en"
    page.find("[data-language=ko]").click()
    assert page.run("return [document.documentElement.lang, document.title]") == ["ko", "facebento: 얼굴 찾기와 비교"]
    page.enter_key()
    page.put(1, TWO)
    assert page.text("#photo-1 .status").startswith("얼굴 2개를 찾았습니다.")
    page.find("[data-language=en]").click()  # what is there already changes its language, too
    assert page.text("#photo-1 .status").startswith("2 faces.")
    assert len(page.all("#photo-1 .marks g")) == 2
    page.find("[data-language=ko]").click()
    page.open()
    assert page.text("h1") == "얼굴을 찾고, 두 사람을 비교합니다."  # Selenium makes plain spaces of all
    page.run("sessionStorage.clear()")
    for languages, expected in (("fr-FR,ko-KR,en", "ko"), ("en-GB,ko", "en")):
        page.speak(languages)
        page.open()
        assert page.run("return document.documentElement.lang") == expected
