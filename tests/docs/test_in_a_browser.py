"""The site in a real browser, opened from a folder: the search works, and nothing outside the folder is asked for."""

import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests.e2e import browsing

pytestmark = pytest.mark.browser


def asked_for(browser: webdriver.Chrome) -> list[str]:
    """The addresses of all requests since this was last called."""
    entries = browser.get_log("performance")  # type: ignore[no-untyped-call]
    messages = [json.loads(entry["message"])["message"] for entry in entries]
    return [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]


@pytest.mark.parametrize(
    ("page", "words", "found"),
    [
        ("index.html", "retry-after", "endpoints/errors.html"),
        ("endpoints/detect.html", "임계값", "ko/quick-start.html"),
    ],
)
def test_the_search_finds_pages_and_asks_nobody(
    browser: webdriver.Chrome, site: Path, page: str, words: str, found: str
) -> None:
    def results(_: webdriver.Chrome) -> list[WebElement]:
        return browser.find_elements(By.CSS_SELECTOR, ".md-search-result__link")

    browsing.reset(browser)
    browser.get((site / page).as_uri())
    field = browser.find_element(By.CSS_SELECTOR, ".md-search__input")
    field.click()
    field.send_keys(words)
    WebDriverWait(browser, 20).until(results)
    addresses = [urlsplit(str(each.get_attribute("href"))).path for each in results(browser)]
    assert any(address.endswith(found) for address in addresses), addresses
    asked = asked_for(browser)
    assert len(asked) > 3
    assert not [address for address in asked if urlsplit(address).scheme not in ("file", "data", "blob", "about")]
    console = browser.get_log("browser")  # type: ignore[no-untyped-call]
    assert not [entry for entry in console if entry["level"] == "SEVERE"]
