"""What the page lets in and out, and where it may lie."""

import pytest

from tests.e2e.browsing import Page
from tests.e2e.running import PROJECT

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

ASTRONAUT = PROJECT / "docs" / "images" / "astronaut.jpg"
TWO = PROJECT / "docs" / "images" / "answer.jpg"


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


def test_a_browser_that_keeps_nothing_for_pages_keeps_the_key_until_the_page_is_left(page: Page) -> None:
    denied = (
        "Object.defineProperty(window, 'sessionStorage', { get() { throw new DOMException('', 'SecurityError'); } })"
    )
    script = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": denied})
    try:
        page.open()
        page.find("[data-language=ko]").click()
        page.find("[data-language=en]").click()
        page.enter_key()
        page.put(1, ASTRONAUT)
        assert page.text("#photo-1 .status").startswith("1 face.")
        page.find("#key-forget").click()
        assert page.find("#key-form").is_displayed()
    finally:
        page.cdp("Page.removeScriptToEvaluateOnNewDocument", identifier=script["identifier"])
    page.open()


def test_a_password_in_the_address_is_not_in_the_requests_that_are_shown(page: Page) -> None:
    address = page.server.url.replace("//", "//somebody:password@")
    page.hosts.add(address.removeprefix("http://"))
    page.open(f"{address}/")
    page.enter_key()
    page.put(1, ASTRONAUT)
    for shown in ("pre.curl", "pre.python"):
        assert page.server.url in page.text(shown)
        assert "password" not in page.text(shown)


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
    page.log("browser")
    page.hosts.add("127.0.0.2:9")  # what was blocked is in the log of requests, too


def test_it_works_below_a_path_of_a_proxy(page: Page, proxy: str) -> None:
    page.log("performance")
    page.open(proxy)
    page.enter_key()
    page.put(1, ASTRONAUT)
    assert page.text("#photo-1 .status").startswith("1 face.")
    assert f"{proxy}v1/file/detect" in page.text("pre.curl")
    page.run("sessionStorage.clear()")
    page.hosts = {proxy.split("/")[2]}
