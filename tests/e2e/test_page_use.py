"""The page when things go wrong, and whoever uses it: by keyboard, with a phone, in the dark, in Korean."""

import http.client
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_core_python.base import AXE_SCRIPT
from numpy.typing import NDArray
from PIL import Image
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.e2e.browsing import Page
from tests.e2e.running import HTTP, PROJECT, encoded

pytestmark = pytest.mark.e2e

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


def test_the_key_is_in_this_tab_alone_and_nowhere_on_the_page(page: Page) -> None:
    page.enter_key()
    page.put(1, ASTRONAUT)
    page.put(2, TWO)
    key = page.server.key
    assert page.run("return Object.values(sessionStorage)") == [key]
    assert page.run("return [localStorage.length, document.cookie]") == [0, ""]
    assert page.wait_for("return (await indexedDB.databases()).length") == 0
    page.find("#code-of").send_keys("P")
    for shown in page.run("return [document.documentElement.outerHTML, document.body.innerText, location.href]"):
        assert key not in shown
    assert page.run("return [...document.querySelectorAll('input')].map((each) => each.value).join()").count(key) == 0
    page.open()
    assert page.find("#key-kept").is_displayed()
    page.driver.switch_to.new_window("tab")
    page.driver.get(f"{page.server.url}/")
    assert page.find("#key-form").is_displayed()
    page.driver.close()
    page.driver.switch_to.window(page.driver.window_handles[0])
    page.find("#key-forget").click()
    assert page.run("return sessionStorage.length") == 0
    assert page.focused().get_attribute("id") == "key-input"


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
        ("return Promise.resolve(new Response('<html>', {status: 502}))", "The service can’t be reached."),
        ("return Promise.reject(new TypeError('Failed to fetch'))", "The service can’t be reached."),
    ):
        page.answer_with(answer)
        page.put(1, ASTRONAUT)
        assert page.text("#photo-1 [role=alert]").startswith(words)
    page.run("window.fetch = window.real")
    page.find("#photo-1 .trouble button").click()
    page.settle()
    assert page.text("#photo-1 .status").startswith("1 face.")
    page.answer_with(f"if (url.endsWith('detect')) return real(url, options); {error(429, 'Too many.', **wait)}")
    page.put(2, TWO)
    assert page.text("#comparison-trouble").startswith("The service has more requests")
    page.run("window.fetch = window.real")
    page.find("#comparison-trouble button").click()
    page.settle()
    assert page.text("#comparison-status").startswith("Likely different people.")


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
        const [kind, selector] = arguments;
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
    page.put(1, tmp_path / name)
    page.cdp("Browser.grantPermissions", permissions=["clipboardReadWrite"], origin=page.server.url)
    copied = []
    for block in (1, 2, 3):
        page.find(f".code:nth-child({block}) button").click()
        page.until(lambda: page.text("#copied") == "Copied.")
        copied.append(page.wait_for("return navigator.clipboard.readText()"))
        page.run("document.querySelector('#copied').textContent = ''")
    curl, python, answer = copied
    assert "$FACEBENTO_API_KEY" in curl
    assert 'os.environ["FACEBENTO_API_KEY"]' in python
    compile(python, "copied", "exec")
    assert f"client.detect({json.dumps(name)}, max_results=5)" in python
    if (bash := shutil.which("bash")) and shutil.which("curl"):
        environment = {"FACEBENTO_API_KEY": page.server.key, "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            [bash, "-c", curl.replace("curl ", "curl -s ", 1)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            check=True,
        )
        assert json.loads(done.stdout) == json.loads(answer)
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
    assert page.text("h1") == "얼굴을 찾고, 두 사람을 비교합니다."
    page.run("sessionStorage.clear()")
    for languages, expected in (("fr-FR,ko-KR,en", "ko"), ("en-GB,ko", "en")):
        page.speak(languages)
        page.open()
        assert page.run("return document.documentElement.lang") == expected


AXE = """
const { violations } = await axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] });
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
    page.run("for (const each of document.querySelectorAll('details')) each.open = true")
    for theme, language in (("light", "en"), ("dark", "ko"), ("dark", "en")):
        page.look(theme=theme)
        page.find(f"[data-language={language}]").click()
        assert page.wait_for(AXE) == []
    page.put(1, tmp_path / "note.txt")
    assert page.wait_for(AXE) == []


def test_nothing_is_wider_than_a_phone(page: Page) -> None:
    wider = "return [document.documentElement.scrollWidth, document.body.scrollWidth].map((each) => each - innerWidth)"
    page.look(width=320, height=640, density=2)
    assert page.run(wider) == [0, 0]
    page.enter_key()
    page.put(1, TWO)
    page.put(2, ASTRONAUT)
    page.run("for (const each of document.querySelectorAll('details')) each.open = true")
    for language in ("en", "ko"):
        page.find(f"[data-language={language}]").click()
        for width in (320, 360, 700):
            page.look(width=width, height=640, density=2)
            assert page.run("return innerWidth") == width
            assert page.run(wider) == [0, 0]


def test_it_is_dark_where_the_system_is(page: Page) -> None:
    def brightness(of: str) -> float:
        colour = page.run(f"return getComputedStyle(document.body).{of}")
        return float(np.mean([float(part) for part in colour[4:-1].split(",")]))

    page.look(theme="light")
    assert brightness("backgroundColor") > 200 > 100 > brightness("color")
    page.look(theme="dark")
    assert brightness("backgroundColor") < 60 < 200 < brightness("color")


def test_what_is_not_the_pages_own_is_not_let_in(page: Page) -> None:
    """That the policy is in force: what this test tries is told to the console, which is emptied of it."""
    broken = page.wait_for(
        """
        const broken = [];
        document.addEventListener("securitypolicyviolation", (event) => broken.push(event.effectiveDirective));
        const script = document.createElement("script");
        try { script.text = "window.ran = true"; document.head.append(script); } catch {}
        try { document.body.innerHTML = "<p>"; } catch {}
        const image = new Image();
        image.src = "http://127.0.0.2:9/";
        await fetch("http://127.0.0.2:9/").catch(() => {});
        const style = document.createElement("style");
        style.textContent = "body { display: none }";
        document.head.append(style);
        await new Promise((done) => setTimeout(done, 50));
        return [window.ran ?? false, getComputedStyle(document.body).display, [...new Set(broken)].sort()];
        """
    )
    assert broken[:2] == [False, "block"]
    assert {"connect-src", "img-src", "require-trusted-types-for", "style-src-elem"} <= set(broken[2])
    page.driver.get_log("browser")
    page.hosts.add("127.0.0.2:9")  # what was blocked is in the log of requests, too


@pytest.fixture
def proxy(page: Page) -> Iterator[str]:
    """The address of a reverse proxy that has the service below a path of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._pass_on(None)

        def do_POST(self) -> None:
            self._pass_on(self.rfile.read(int(self.headers["content-length"])))

        def _pass_on(self, body: bytes | None) -> None:
            if not self.path.startswith("/faces/"):
                self.send_error(http.client.NOT_FOUND)
                return
            headers = {
                name: value for name, value in self.headers.items() if name.lower() not in {"host", "connection"}
            }
            path = self.path.removeprefix("/faces")
            answer = HTTP.request(self.command, page.server.url + path, headers=headers, content=body)
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/faces/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_it_works_below_a_path_of_a_proxy(page: Page, proxy: str) -> None:
    page.driver.get_log("performance")
    page.open(proxy)
    page.enter_key()
    page.put(1, ASTRONAUT)
    assert page.text("#photo-1 .status").startswith("1 face.")
    assert f"{proxy}v1/file/detect" in page.text("pre.curl")
    page.run("sessionStorage.clear()")
    page.hosts = {proxy.split("/")[2]}
