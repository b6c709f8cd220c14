"""What is tried again, how often, and after how long."""

import datetime as dt
import io
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from clients.python.tests.answering import Ask, answers, ask
from facebento_client import (
    ApiError,
    DeadlineError,
    InvalidRequestError,
    NoAnswerError,
    NoAnswerInTimeError,
    OverloadedError,
    Retry,
    UnavailableError,
)
from facebento_client.retries import Attempts, passes, retry_after_s

NOW = dt.datetime(2026, 5, 4, 12, 0, 0, tzinfo=dt.UTC)


def busy(retry_after: str | None = None, status: int = 429) -> httpx.Response:
    headers = {"retry-after": retry_after} if retry_after else {}
    return httpx.Response(status, json={"detail": "Later."}, headers=headers)


def test_what_may_pass_is_tried_again(asked: Ask, naps: list[float]) -> None:
    service = answers(busy(), busy(status=503), busy(status=502), httpx.ConnectError(""), {"score": 1})
    assert asked(service, "feature_score", "a", "b") == 1
    assert len(naps) == 4


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422, 500, 504])
@pytest.mark.usefixtures("naps")
def test_what_would_be_the_same_again_is_not(asked: Ask, status: int) -> None:
    service = answers(busy(status=status))
    with pytest.raises(ApiError):
        asked(service, "feature_score", "a", "b")
    assert len(service.requests) == 1


@pytest.mark.usefixtures("naps")
def test_an_answer_that_did_not_come_in_time_is_not_asked_for_again(asked: Ask) -> None:
    service = answers(httpx.ReadTimeout(""))
    with pytest.raises(NoAnswerInTimeError):
        asked(service, "health")
    assert len(service.requests) == 1


@pytest.mark.usefixtures("naps")
def test_as_often_as_told(asked: Ask) -> None:
    service = answers(busy())
    with pytest.raises(OverloadedError):
        asked(service, "health", retry=2)
    assert len(service.requests) == 3


def test_the_log_tells_of_it(naps: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "facebento_client"):
        ask(answers(busy(), {"status": "ok", "ready": True}), "health")
    assert caplog.messages == [f"Later. [HTTP 429]: tried again in {naps[0]:.2f} s"]


def test_retry_after_is_honoured(asked: Ask, naps: list[float]) -> None:
    asked(answers(busy("7"), {"status": "ok", "ready": True}), "health")
    [pause] = naps
    assert 7 <= pause <= 7.25


def test_longer_than_the_total_is_not_waited(asked: Ask, naps: list[float]) -> None:
    service = answers(busy("61"))
    with pytest.raises(OverloadedError) as caught:
        asked(service, "health")
    assert (len(service.requests), naps, caught.value.retry_after_s) == (1, [], 61)


def test_the_total_holds_over_all_pauses(asked: Ask, naps: list[float]) -> None:
    with pytest.raises(OverloadedError):
        asked(answers(busy("20")), "health", retry=Retry(times=100))
    assert len(naps) == 2  # 20 s and a little each: a third one would end after 60 s


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_pauses_grow_up_to_the_longest(chance: float) -> None:
    attempts = Attempts(Retry(times=7), clock=lambda: 0.0, chance=lambda: chance)
    pauses = [attempts.pause_s(OverloadedError("", status=429)) for _ in range(8)]
    whole = [0.25, 0.5, 1, 2, 4, 8, 8]
    assert pauses == [each * (1 + chance) / 2 for each in whole] + [None]


def test_with_retry_after_the_random_part_comes_on_top() -> None:
    attempts = Attempts(Retry(), clock=lambda: 0.0, chance=lambda: 1.0)
    error = UnavailableError("", status=503, retry_after_s=1.0)
    assert [attempts.pause_s(error) for _ in range(3)] == [1.25, 1.5, 2]


@pytest.mark.parametrize("options", [{"times": -1}, {"total_s": -1}, {"first_pause_s": -1}, {"longest_pause_s": -1}])
def test_numbers_below_0_are_refused(options: Any) -> None:
    with pytest.raises(ValueError, match="below 0"):
        Retry(**options)


@pytest.mark.parametrize(
    ("error", "may"),
    [
        (NoAnswerError(""), True),
        (NoAnswerInTimeError(""), False),
        (DeadlineError("", status=504), False),
        (InvalidRequestError("", status=422), False),
        (UnavailableError("", status=502), True),
    ],
)
def test_what_passes(error: Any, may: bool) -> None:
    assert passes(error) is may


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        (" 120 ", 120),
        ("Mon, 04 May 2026 12:00:30 GMT", 30),
        ("Mon, 04 May 2026 14:00:30 +0200", 30),
        ("Mon, 04 May 2026 12:00:30 -0000", 30),
        ("Mon, 04 May 2026 11:00:00 GMT", 0),
        ("soon", None),
        ("Mon, 04 May 99999999999 12:00:00 GMT", None),
        ("9" * 400, float("inf")),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, lambda: NOW) == seconds


@pytest.mark.parametrize("form", [True, False])
@pytest.mark.parametrize("kind", ["file", "stream", "bytes", "path"])
@pytest.mark.usefixtures("naps")
def test_the_whole_body_is_sent_again(asked: Ask, kind: str, form: bool, tmp_path: Path) -> None:
    content = b"an image " * 1000
    path = tmp_path / "image"
    path.write_bytes(content)
    with path.open("rb") as file:
        image = {"file": file, "stream": _Stream(content), "bytes": content, "path": path}[kind]
        service = answers(busy(), httpx.ReadError(""), {"seq": 0, "faces": []})
        asked(service, "detect", image, form=form)
    boundaries = [each.headers["content-type"].partition("boundary=")[2].encode() for each in service.requests]
    bodies = [
        body.replace(boundary, b"") if boundary else body
        for body, boundary in zip(service.bodies, boundaries, strict=True)
    ]
    assert len(bodies) == 3
    assert bodies[0] == bodies[1] == bodies[2]
    assert len(bodies[0]) > len(content)


class _Stream(io.RawIOBase):
    """Can be read once, as a socket or a pipe."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def read(self, size: int = -1) -> bytes:
        assert size == -1
        content, self._content = self._content, b""
        return content

    def seek(self, _offset: int, _whence: int = 0) -> int:
        raise io.UnsupportedOperation
