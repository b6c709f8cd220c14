"""The key: where it comes from, where it goes, and that it is shown nowhere."""

import logging
import traceback

import httpx
import pytest

from clients.python.tests.answering import KEY, Ask, answers, sync_client
from facebento_client import AsyncClient, AuthenticationError, Client, FacebentoError


def test_it_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    service = answers({"score": 1})
    monkeypatch.setenv("FACEBENTO_API_KEY", "from-the-environment")
    http = httpx.Client(transport=httpx.MockTransport(service.answer))
    Client("http://service", http=http).feature_score("a", "b")
    Client("http://service", api_key="given", http=http).feature_score("a", "b")
    assert [each.headers["x-api-key"] for each in service.requests] == ["from-the-environment", "given"]


def test_without_one_the_service_says_what_is_missing(asked: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FACEBENTO_API_KEY", raising=False)
    missing = {"loc": ["header", "x-api-key"], "msg": "Field required", "type": "missing"}
    with pytest.raises(AuthenticationError, match="FACEBENTO_API_KEY") as caught:
        asked(answers(httpx.Response(422, json={"detail": [missing]})), "feature_score", "a", "b")
    assert (caught.value.status, caught.value.problems[0].type) == (422, "missing")


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_no_text_of_a_client_shows_it(client: type[Client | AsyncClient]) -> None:
    made = client("http://service:3000/", api_key=KEY)
    assert repr(made) == str(made) == f"{client.__name__}('http://service:3000')"
    with_password = client("http://someone:password@service:3000", api_key=KEY)
    assert "password" not in repr(with_password)


@pytest.mark.parametrize("key", ["schlüssel", "one\nline", "a b", "ab\x7f", ""])
def test_what_is_no_key_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII") as caught:
        Client("http://service", api_key=key)
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(401, json={"detail": "This is no key that the service knows."}),
        httpx.Response(500, text="<html>oops</html>"),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("late"),
    ],
    ids=["refused", "strange", "nobody", "late"],
)
@pytest.mark.usefixtures("naps")
def test_no_error_and_no_log_shows_it(
    asked: Ask, answer: httpx.Response | httpx.RequestError, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(FacebentoError) as caught:
        asked(answers(answer), "feature_score", "a", "b", retry=1)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caplog.text
    assert "service" in shown
    assert KEY not in shown
    assert KEY not in repr(vars(caught.value))


def test_a_redirect_does_not_take_it_elsewhere(asked: Ask) -> None:
    service = answers(httpx.Response(307, headers={"location": "http://elsewhere/v1/feature-score"}), {"score": 1})
    with pytest.raises(FacebentoError, match="redirects elsewhere"):
        asked(service, "feature_score", "a", "b")
    assert [each.url.host for each in service.requests] == ["service"]


def test_a_client_that_is_shared_keeps_it_to_itself() -> None:
    client = sync_client(answers({"score": 1}))
    client.feature_score("a", "b")
    assert "x-api-key" not in client._http.headers


@pytest.mark.parametrize(
    "address",
    [
        "service:3000",
        "ftp://service",
        "http://",
        "/v1",
        "http://service:port",
        "http://[::1",
        "http://a/?b=c",
        "http://a/#b",
    ],
)
def test_an_address_must_be_one(address: str) -> None:
    with pytest.raises(ValueError, match="The service's address"):
        Client(address)
