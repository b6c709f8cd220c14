"""What runners and their callers count."""

import asyncio
from typing import Any

import pytest
from prometheus_client import REGISTRY

from runners import metrics
from runners.app import KnownPaths
from runners.calls import Receive, Scope, Send
from runners.errors import RunnerError, RunnerTimeoutError, RunnerUnavailableError


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"facebento_{name}", labels) or 0


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "ok"),
        (RunnerTimeoutError("late"), "timeout"),
        (RunnerUnavailableError("gone"), "unavailable"),
        (RunnerError("other"), "unavailable"),
        (asyncio.CancelledError(), "cancelled"),
    ],
)
def test_a_call_is_counted_by_how_it_ended(error: BaseException | None, outcome: str) -> None:
    labels = {"runner": "tried", "outcome": outcome}
    before = value("runner_calls_total", **labels), value("runner_call_duration_seconds_count", runner="tried")

    def call() -> None:
        with metrics.calls().of("tried"):
            if error is not None:
                raise error

    if error is None:
        call()
    else:
        with pytest.raises(type(error)):
            call()
    after = value("runner_calls_total", **labels), value("runner_call_duration_seconds_count", runner="tried")
    assert after == (before[0] + 1, before[1] + 1)


def test_a_caller_tells_of_no_call_before_the_first() -> None:
    metrics.calls().begin("silent")
    for outcome in ("ok", "timeout", "unavailable", "cancelled"):
        assert REGISTRY.get_sample_value("facebento_runner_calls_total", {"runner": "silent", "outcome": outcome}) == 0
    assert REGISTRY.get_sample_value("facebento_runner_retries_total", {"runner": "silent"}) == 0


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/detect/0123456789ab", "/detect/0123456789ab"),
        ("/metrics", "/metrics"),
        ("/detect/0123456789ab/", "/unknown"),
        ("/detect/needle", "/unknown"),
        ("//metrics", "/unknown"),
        ("/metrics\n", "/unknown"),
        ("", "/unknown"),
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_a_path_that_a_runner_does_not_serve_makes_no_label(path: str, seen: str, kind: str) -> None:
    scopes = []

    async def app(scope: Scope, _: Receive, __: Send) -> None:
        scopes.append(scope)

    async def nothing(*_: object) -> Any:
        return {}

    known = KnownPaths(app, ["/detect/0123456789ab", "/metrics"])
    asyncio.run(known({"type": kind, "path": path, "raw_path": path.encode()}, nothing, nothing))
    asyncio.run(known({"type": "lifespan"}, nothing, nothing))
    assert [scope.get("path") for scope in scopes] == [seen, None]
    assert scopes[0]["raw_path"] == seen.encode()
