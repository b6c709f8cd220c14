"""The page in a real browser: Chromium without a window, as Debian packages it."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.e2e.running import Server

# Nothing is under way, and each picture that there is lies there.
SETTLED = """
return !document.querySelector("[aria-busy=true]") &&
    [...document.querySelectorAll(".photo")].every((photo) =>
        photo.querySelector("figure").hidden || photo.querySelector(".stage").hidden ||
        photo.querySelector("figcaption").textContent.includes(" \u00d7 "));
"""

# In place of the service: the answer to each POST comes of the function in window.stub.
STUB = """
const real = window.real ??= window.fetch;
window.asked = [];
const stub = new Function("url", "options", arguments[0]);
window.fetch = (url, options) => {
    if (options?.method !== "POST") return real(url, options);
    window.asked.push(url);
    return stub(url, options);
};
"""


def missing_programs() -> list[str]:
    return [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]


@contextmanager
def browser() -> Iterator[Chrome]:
    """Skips the test where there is none."""
    if missing := missing_programs():
        pytest.skip(f"needs {' and '.join(missing)}: apt-get install chromium chromium-driver")
    options = ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in (
        "--headless=new",
        "--no-sandbox",  # without which root may not start it
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--use-fake-device-for-media-stream",
        "--lang=en-US",
        "--window-size=1280,900",
    ):
        options.add_argument(argument)
    options.add_experimental_option("perfLoggingPrefs", {"enableNetwork": True, "enablePage": False})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # By its path, so that Selenium looks for no driver elsewhere.
    driver = Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
    try:
        driver.set_script_timeout(30)
        yield driver
    finally:
        driver.quit()


def reset(driver: Chrome) -> None:
    """As it was when it started, whatever a test before did; what it told of that one is forgotten."""
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    driver.execute_cdp_cmd("Browser.resetPermissions", {})
    speak(driver, "en-US")
    for kind in ("browser", "performance"):
        driver.get_log(kind)  # type: ignore[no-untyped-call]


def speak(driver: Chrome, languages: str) -> None:
    """What the browser says of its user from the next load on."""
    agent = driver.execute_script("return navigator.userAgent")
    driver.execute_cdp_cmd("Emulation.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": languages})


class Page:
    """The page of that server in the browser's tab, as somebody meets it who has never been there."""

    def __init__(self, driver: Chrome, server: Server) -> None:
        self.driver = driver
        self.server = server
        self.hosts = {urlsplit(server.url).netloc}  # that may be asked
        self.statuses: set[int] = set()  # of answers that a test provokes, and that the browser's console tells of
        reset(driver)
        self.open()

    def open(self, url: str = "") -> None:
        self.driver.get(url or f"{self.server.url}/")
        self.until(lambda: "facebento" in self.text("#about"))

    def cdp(self, command: str, **arguments: Any) -> None:
        self.driver.execute_cdp_cmd(command, arguments)

    def speak(self, languages: str) -> None:
        """What the browser says of its user from the next load on."""
        speak(self.driver, languages)

    def log(self, kind: str) -> list[dict[str, Any]]:
        """What has come to it since it was last read."""
        entries: list[dict[str, Any]] = self.driver.get_log(kind)  # type: ignore[no-untyped-call]
        return entries

    def look(self, *, width: int = 1280, height: int = 900, theme: str = "light", density: int = 1) -> None:
        """Through a window of that size, in CSS pixels."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": density, "mobile": width < 600}
        self.cdp("Emulation.setDeviceMetricsOverride", **metrics)
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def wait_for(self, script: str, *arguments: Any) -> Any:
        """What the body of an async function returns."""
        program = f"const done = arguments[arguments.length - 1]; (async () => {{ {script} }})().then(done)"
        return self.driver.execute_async_script(program, *arguments)

    def until(self, true: Callable[[], Any]) -> None:
        WebDriverWait(self.driver, 30, 0.02).until(lambda _: true())

    def settle(self) -> None:
        self.until(lambda: self.run(SETTLED))

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return self.find(selector).text

    def focused(self) -> WebElement:
        return self.driver.switch_to.active_element

    def enter_key(self, key: str | None = None) -> None:
        # Pasted, as it were: typed, each of its letters takes the driver's time.
        form = "const [form, key] = arguments; form.elements[0].value = key; form.requestSubmit()"
        self.run(form, self.find("#key-form"), key or self.server.key)

    def put(self, photo: int, file: Path) -> None:
        """Choose it, and wait until it was looked at."""
        self.find(f"#photo-{photo} input[type=file]").send_keys(str(file))
        self.settle()

    def answer_with(self, script: str) -> None:
        """Have every POST answered by the body of a function of url and options, and not by the service."""
        self.run(STUB, script)

    def leave(self) -> None:
        """Nothing was reported to the console, no host asked but the service's, and the next one finds no traces."""
        self.run("sessionStorage.clear()")
        for entry in self.log("browser"):
            told = [status for status in self.statuses if f"status of {status}" in entry["message"]]
            assert entry["source"] == "network", entry
            assert told, entry
        hosts = {urlsplit(url).netloc for url in self._asked()}
        assert hosts == self.hosts

    def _asked(self) -> Iterator[str]:
        for entry in self.log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = message["params"]["request"]["url"]
                if not url.startswith(("blob:", "data:")):
                    yield url
