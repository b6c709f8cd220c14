"""Every status, and every way to get none."""

import copy
import pickle

import httpx
import pytest

from clients.python.tests.answering import Ask, answers
from facebento_client import (
    ApiError,
    AuthenticationError,
    DeadlineError,
    FeatureInvalidError,
    InvalidRequestError,
    NoAnswerError,
    NoAnswerInTimeError,
    NotFoundError,
    OverloadedError,
    Problem,
    TooLargeError,
    UnavailableError,
    UnexpectedAnswerError,
)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequestError),
        (401, AuthenticationError),
        (404, NotFoundError),
        (405, NotFoundError),
        (413, TooLargeError),
        (429, OverloadedError),
        (500, ApiError),
        (502, UnavailableError),
        (503, UnavailableError),
        (504, DeadlineError),
    ],
)
def test_status(asked: Ask, status: int, kind: type[ApiError]) -> None:
    headers = {"x-request-id": "4711", "retry-after": "3"}
    response = httpx.Response(status, json={"detail": "What is wrong."}, headers=headers)
    with pytest.raises(kind) as caught:
        asked(answers(response), "feature_score", "a", "b", retry=0)
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.detail, error.request_id, error.retry_after_s) == (status, "What is wrong.", "4711", 3)
    assert str(error) == f"What is wrong. [HTTP {status}, request 4711]"


def test_what_is_wrong_with_a_request_is_told_field_by_field(asked: Ask) -> None:
    detail = [
        {"loc": ["body", "image"], "msg": "The image is empty.", "type": "image_corrupt"},
        {"loc": ["body"], "msg": "Field required", "type": "missing"},
    ]
    with pytest.raises(InvalidRequestError) as caught:
        asked(answers(httpx.Response(422, json={"detail": detail})), "detect", b"image")
    assert caught.value.problems[0] == Problem(("body", "image"), "The image is empty.", "image_corrupt")
    assert str(caught.value) == (
        "image: The image is empty. (image_corrupt); body: Field required (missing) [HTTP 422]"
    )


@pytest.mark.parametrize(
    "body", [b"<h1>Bad\n gateway</h1>", b"[]", b'{"detail": [1]}', b"\xff\xfe", b'{"detail": {}}', b"[" * 9**5]
)
def test_an_answer_of_a_stranger_is_told_shortly(asked: Ask, body: bytes) -> None:
    with pytest.raises(UnavailableError) as caught:
        asked(answers(httpx.Response(502, content=body + b" " * 9000 + b"end")), "health", retry=0)
    assert caught.value.detail.startswith("http://service:3000/v1/health answered 502 Bad Gateway")
    assert len(caught.value.detail) < 300


def test_an_error_goes_from_one_process_to_another() -> None:
    error = OverloadedError("Later.", status=429, problems=[Problem(("body",), "x", "y")], request_id="4711")
    error.add_note("of a.jpg")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301  its own
        assert type(again) is OverloadedError
        assert (str(again), vars(again)) == (str(error), vars(error))


BODIES = [b"<html>", b"{}", b"[]", b'{"score": "high"}', b"\xff", b'{"score": ' + b"9" * 400 + b"}", b"[" * 100_000]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body[:12])
def test_a_200_of_something_else_is_an_error(asked: Ask, body: bytes) -> None:
    with pytest.raises(UnexpectedAnswerError, match="Is this its address"):
        asked(answers(httpx.Response(200, content=body)), "feature_score", "a", "b")


def test_a_model_that_is_none_is_an_error(asked: Ask) -> None:
    with pytest.raises(UnexpectedAnswerError):
        asked(answers(httpx.Response(200, content=b"[]")), "model_info", "a-model")


def test_a_feature_of_a_newer_format_says_so(asked: Ask) -> None:
    answer = {"version": "2", "feature": "AAAA", "face_detect": {"processed": False}}
    with pytest.raises(FeatureInvalidError, match="too short"):
        asked(answers(answer), "feature", b"image")


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (httpx.ConnectError("refused"), NoAnswerError, "No connection to http://service:3000/v1/health: refused"),
        (httpx.ConnectTimeout(""), NoAnswerError, "No connection to .* in time"),
        (httpx.ReadTimeout(""), NoAnswerInTimeError, "did not answer in time"),
        (httpx.ReadError(""), NoAnswerError, "broke before the answer had come: ReadError"),
        (httpx.RemoteProtocolError("gone"), NoAnswerError, "broke before the answer had come: gone"),
    ],
)
def test_no_answer(asked: Ask, error: httpx.RequestError, kind: type[NoAnswerError], says: str) -> None:
    with pytest.raises(kind, match=says) as caught:
        asked(answers(error), "health", retry=0)
    assert type(caught.value) is kind
    assert caught.value.__cause__ is error


def test_a_password_in_the_address_is_not_told() -> None:
    from facebento_client import Client  # noqa: PLC0415

    service = answers(httpx.ConnectError("refused"))
    http = httpx.Client(transport=httpx.MockTransport(service.answer))
    with pytest.raises(NoAnswerError) as caught:
        Client("http://someone:password@service", retry=0, http=http).health()
    assert "password" not in str(caught.value)
