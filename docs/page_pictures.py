"""Makes the pictures of docs/page.md: the page in a real browser, with photographs that are in the public domain.

    python docs/page_pictures.py http://127.0.0.1:3000 KEY

It needs what `make test` installs, chromium and chromedriver, and a Korean font for the Korean one.
"""

import base64
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

IMAGES = Path(__file__).with_name("images")
ASTRONAUT = IMAGES / "astronaut.jpg"
TWO = IMAGES / "two-people.jpg"

# Nothing is under way, and each picture has told its size.
SETTLED = """
const told = [...document.querySelectorAll("figure:not([hidden]) figcaption")].map((each) => each.textContent);
return !document.querySelector("[aria-busy=true]") && told.every((each) => each.includes(" \u00d7 "));
"""


class Browser:
    def __init__(self, url: str) -> None:
        options = ChromeOptions()
        options.binary_location = str(shutil.which("chromium"))
        for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars", "--lang=en-US"):
            options.add_argument(argument)
        self.driver = Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
        self.url = url

    def look(self, width: int, height: int, theme: str) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        feature = {"name": "prefers-color-scheme", "value": theme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def settle(self) -> None:
        WebDriverWait(self.driver, 30).until(lambda driver: driver.execute_script(SETTLED))

    def put(self, photo: int, file: Path) -> None:
        self.driver.find_element(By.CSS_SELECTOR, f"#photo-{photo} input[type=file]").send_keys(str(file.resolve()))
        self.settle()

    def save(self, name: str, first: str, last: str) -> None:
        """What lies between the tops of two elements, as large as it is."""
        self.driver.execute_script("document.activeElement.blur()")
        top, bottom, width = self.driver.execute_script(
            "return [...arguments].map((each) => document.querySelector(each).getBoundingClientRect().top + scrollY)"
            ".concat(innerWidth)",
            first,
            last,
        )
        clip = {"x": 0, "y": max(0, top - 12), "width": width, "height": bottom - top, "scale": 1}
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        file = IMAGES / f"page-{name}.png"
        file.write_bytes(base64.b64decode(shot["data"]))
        with Image.open(file) as picture:
            picture.convert("RGB").quantize(256, kmeans=2, dither=Image.Dither.NONE).save(file, optimize=True)


def main(url: str, key: str) -> None:
    browser = Browser(url)
    with tempfile.TemporaryDirectory() as folder:
        older = Path(folder) / "another-photo.jpg"
        with Image.open(ASTRONAUT) as picture:
            picture.rotate(9, Image.Resampling.BICUBIC).crop((60, 20, 400, 330)).save(older, quality=90)
        try:
            browser.driver.get(url)
            browser.look(900, 800, "light")
            browser.driver.find_element(By.ID, "key-input").send_keys(f"{key}\n")
            browser.put(1, TWO)
            browser.save("detect", "header", "#code")
            browser.put(1, ASTRONAUT)
            browser.put(2, older)
            browser.save("compare", "#comparison", "#code")
            browser.look(1100, 800, "dark")
            browser.save("dark", "#comparison", "footer")
            browser.look(390, 800, "light")
            browser.driver.find_element(By.CSS_SELECTOR, "[data-language=ko]").click()
            browser.save("phone-korean", "header", "#photo-1 .found")
        finally:
            browser.driver.quit()


if __name__ == "__main__":
    main(*sys.argv[1:])
