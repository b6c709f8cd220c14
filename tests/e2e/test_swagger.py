"""The description at /docs, in a real browser."""

import pytest

from tests.e2e.browsing import Page

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

# The answer to GET /v1/health that it shows, after a click on each button on the way.
TRY_IT_OUT = """
const operation = document.querySelector('[data-path="/v1/health"]').closest(".opblock");
const there = async (selector) => {
    while (!operation.querySelector(selector)) await new Promise(requestAnimationFrame);
    return operation.querySelector(selector);
};
operation.querySelector("button").click();
(await there(".try-out__btn")).click();
(await there(".execute")).click();
const status = (await there(".live-responses-table tbody .response-col_status")).innerText;
return [status, operation.querySelector(".request-url").innerText];
"""


def test_it_shows_all_endpoints_and_tries_them_out_also_below_a_path_of_a_proxy(page: Page, proxy: str) -> None:
    """That nothing in it is against its policy is held against the browser's log as the page is left."""
    paths = page.server.read("/openapi.json")["paths"]
    for root in (f"{page.server.url}/", proxy):
        page.driver.get(f"{root}docs")
        page.until(lambda: page.all(".opblock"))
        assert {each.get_attribute("data-path") for each in page.all(".opblock-summary-path")} == set(paths)
        status, asked = page.wait_for(TRY_IT_OUT)
        assert status.split() == ["200"]
        assert asked.endswith(f"{root}v1/health")
    page.hosts.add(proxy.split("/")[2])
