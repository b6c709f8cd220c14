"""The requests of docs/migration, as a reader would paste them: the answers are those of the pages."""

import asyncio
import json
import os
import re
import shutil
import subprocess
from typing import Any

import pytest

from tests.e2e.running import PROJECT, Server

pytestmark = pytest.mark.e2e

PAGES = sorted((PROJECT / "docs" / "migration").glob("*.md"))
REST = "..."  # in the pages: and so on


def examples() -> list[Any]:
    """Each request with the answer below it."""
    found = []
    for page in PAGES:
        blocks = re.findall(r"```sh\n(curl .*?)```\n.*?```json\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        found += [pytest.param(*block, id=f"{page.stem}-{n}") for n, block in enumerate(blocks)]
    return found


def same(found: Any, told: Any) -> bool:
    """Whether the answer is what the page tells: figures as far as they are written out, boxes give or take a pixel."""
    if isinstance(told, dict):
        return found.keys() == told.keys() and all(same(found[key], told[key]) for key in told)
    if isinstance(told, list):
        if REST in told:
            told = told[: told.index(REST)]
            found = found[: len(told)]
        return len(found) == len(told) and all(map(same, found, told))
    if isinstance(told, bool | str):
        return bool(found == told)
    return bool(found == pytest.approx(told, abs=1 if isinstance(told, int) else 2e-3))


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize(("request_", "answer"), examples())
def test_an_example(server: Server, request_: str, answer: str) -> None:
    command = request_.replace("http://127.0.0.1:3000", server.url)
    assert command != request_
    environment = {"PATH": os.environ["PATH"], "KEY": server.key}
    run = subprocess.run(
        ["/bin/sh", "-c", command], cwd=PROJECT, env=environment, capture_output=True, text=True, check=True
    )
    found, told = json.loads(run.stdout), json.loads(answer)
    assert same(found, told), run.stdout[:2000]


def test_the_python_of_the_page_asks_for_many(server: Server) -> None:
    text = (PROJECT / "docs" / "migration" / "insightface-rest.md").read_text(encoding="utf-8")
    defined: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, defined)  # noqa: S102 - the page's own
    photo = str(PROJECT / "docs" / "images" / "astronaut.jpg")
    first, second = asyncio.run(defined["embeddings"]([photo, photo], server.url, server.key))
    assert len(first) == 128
    assert first == pytest.approx(second, abs=1e-5)
