"""The layers around BentoML and around the gate: requests are made by hand, and no server is there."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY
from starlette.routing import Mount, Route
from starlette.types import Message, Receive, Scope, Send

import stages
from api import errors
from api.access import UNKNOWN, AccessLog, Endpoints, Entrance
from api.gate import ADMITTED
from api.metrics import Requests

App = Callable[[Scope, Receive, Send], Awaitable[None]]

REQUESTS = Requests(deadline_s=30)

ROUTES = [
    Route("/v1/detect", lambda _: None, methods=["POST"]),
    Route("/v1/health", lambda _: None),
    Route("/v1/info/model/{model_name}", lambda _: None),
    Mount("/static", routes=[]),
]


async def answer(send: Send, status: int = 200, body: bytes = b"{}") -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"a", b"b")]})
    await send({"type": "http.response.body", "body": body[:1], "more_body": True})
    await send({"type": "http.response.body", "body": body[1:]})


async def answering(_: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await answer(send)


class Site:
    """The layers as service.py puts them, with an app in the middle; what is logged, sent, and seen by BentoML's."""

    def __init__(self, app: App, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        self.sent: list[Message] = []
        self.seen_by_bentoml: list[str] = []
        log = AccessLog(app, REQUESTS)

        async def bentoml(scope: Scope, receive: Receive, send: Send) -> None:
            self.seen_by_bentoml.append(scope["path"])
            await log(scope, receive, send)

        self._app = Entrance(bentoml, Endpoints(ROUTES, {"/livez"}))

    def request(
        self,
        path: str = "/v1/detect",
        *,
        method: str = "POST",
        headers: list[tuple[bytes, bytes]] | None = None,
        messages: tuple[Message, ...] = (
            {"type": "http.request", "body": b"12", "more_body": True},
            {"type": "http.request", "body": b"3"},
        ),
        kind: str = "http",
    ) -> dict[str, Any]:
        """The facts of the one line that is logged, {} if there is none."""
        left = iter(messages)

        async def receive() -> Message:
            return next(left)

        async def send(message: Message) -> None:
            self.sent.append(message)

        self.sent.clear()
        self._caplog.clear()
        scope = {"type": kind, "method": method, "path": path, "headers": headers or []}
        with self._caplog.at_level(logging.INFO, "facebento.access"):
            asyncio.run(self._app(scope, receive, send))
        assert stages.current.get() is None
        assert len(self._caplog.records) <= 1
        return dict(*(record.__dict__["facts"] for record in self._caplog.records))

    @property
    def ids(self) -> list[bytes]:
        return [value for name, value in self.sent[0]["headers"] if name == b"x-request-id"]


MakeSite = Callable[[App], Site]


@pytest.fixture
def site(caplog: pytest.LogCaptureFixture) -> MakeSite:
    return lambda app: Site(app, caplog)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0


def test_a_request_is_told_in_one_line_and_counted(site: MakeSite) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope[ADMITTED] = "billing"
        with stages.stage("decode"):
            stages.found(2, 300)
        await answering(scope, receive, send)

    labels = {"endpoint": "/v1/detect", "status": "200", "key": "billing"}
    before = counted("facebento_requests_total", **labels)
    told = site(app).request(headers=[(b"x-api-key", b"needle")])
    assert told.pop("duration_ms") > 0
    assert list(told.pop("stages_ms")) == ["receive", "decode", "encode"]
    assert told == {
        "key": "billing",
        "method": "POST",
        "endpoint": "/v1/detect",
        "status": 200,
        "bytes_in": 3,
        "bytes_out": 2,
        "faces": 2,
    }
    assert counted("facebento_requests_total", **labels) == before + 1


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/detect", "/v1/detect"),
        ("/v1/info/model/centerface", "/v1/info/model/{model_name}"),
        ("/v1/info/model/needle\n", "/v1/info/model/{model_name}"),
        ("/static/needle.css", "/static"),
        ("/v1/needle", UNKNOWN),
        ("/v1/detect/", UNKNOWN),
        ("/livez\n", UNKNOWN),
        ("//livez", UNKNOWN),
        ("", UNKNOWN),
        ("/v1/detect\n", "/v1/detect"),  # so the router takes it
    ],
)
def test_bentoml_the_log_and_the_metrics_get_a_name_and_the_app_gets_the_path(
    site: MakeSite, path: str, name: str
) -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["path"])
        await answering(scope, receive, send)

    made = site(app)
    assert made.request(path, method="GET")["endpoint"] == name
    assert made.seen_by_bentoml == [name]
    assert seen == [path]


def test_no_path_and_no_method_makes_a_label_of_its_own(site: MakeSite) -> None:
    made = site(answering)
    made.request("/x")
    before = sum(len(list(metric.samples)) for metric in REGISTRY.collect() if "facebento" in metric.name)
    assert before
    for number in range(100):
        assert made.request(f"/{number}", method=f"M{number}")["method"] == "OTHER"
    after = sum(len(list(metric.samples)) for metric in REGISTRY.collect() if "facebento" in metric.name)
    assert after == before


def test_the_health_check_is_counted_but_not_told(site: MakeSite) -> None:
    labels = {"endpoint": "/v1/health", "status": "200", "key": "-"}
    before = counted("facebento_requests_total", **labels)
    assert site(answering).request("/v1/health", method="GET") == {}
    assert counted("facebento_requests_total", **labels) == before + 1


@pytest.mark.parametrize("sent", [b"a", b"Az09._-", b"x" * 64])
def test_a_request_id_of_the_client_is_taken_over(site: MakeSite, sent: bytes) -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        work = stages.current.get()
        assert work is not None
        seen.append(work.request_id.encode())
        await answering(scope, receive, send)

    made = site(app)
    made.request(headers=[(b"x-request-id", sent)])
    assert made.ids == [sent]
    assert seen == [sent]


@pytest.mark.parametrize(
    "sent", [[], [b""], [b"x" * 65], [b"a b"], [b"a\nb"], [b"a\n"], ["ä".encode()], [b'"'], [b"a", b"b"]]
)
def test_any_other_is_replaced(site: MakeSite, sent: list[bytes]) -> None:
    made = site(answering)
    new = set()
    for _ in range(2):
        made.request(headers=[(b"x-request-id", value) for value in sent])
        [made_up] = made.ids
        assert len(made_up) == 32
        assert made_up.isalnum()
        new.add(made_up)
    assert len(new) == 2


def test_what_fails_in_an_unforeseen_way_is_answered_and_told_with_its_traceback(
    site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(_: Scope, __: Receive, ___: Send) -> None:
        raise ValueError

    made = site(app)
    assert made.request()["status"] == 500
    assert made.sent[0]["status"] == 500
    assert json.loads(b"".join(message.get("body", b"") for message in made.sent))["detail"]
    assert len(made.ids) == 1
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info
    assert record.exc_info[0] is ValueError


def test_a_failure_after_its_answer_is_not_answered_twice(site: MakeSite) -> None:
    async def app(_: Scope, __: Receive, send: Send) -> None:
        await answer(send, 500)
        raise ValueError

    made = site(app)
    assert made.request()["status"] == 500
    assert [message["type"] for message in made.sent].count("http.response.start") == 1


GONE: Message = {"type": "http.disconnect"}


def test_a_client_who_went_away_before_the_answer_is_told_as_499(site: MakeSite) -> None:
    async def reads_and_fails(_: Scope, receive: Receive, __: Send) -> None:
        await receive()
        await receive()
        raise ConnectionError

    async def reads_and_answers(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()
        await answer(send, 400)

    async def gives_up(_: Scope, receive: Receive, __: Send) -> None:
        await receive()
        await receive()

    for app in (reads_and_fails, reads_and_answers, gives_up):
        told = site(app).request(messages=({"type": "http.request", "body": b"1", "more_body": True}, GONE))
        assert told["status"] == 499


def test_the_end_of_a_connection_after_the_answer_is_no_client_who_went_away(site: MakeSite) -> None:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await answer(send)
        await receive()

    assert site(app).request(messages=(GONE,))["status"] == 200


def test_what_bentoml_gives_up_is_told(site: MakeSite) -> None:
    async def app(_: Scope, __: Receive, ___: Send) -> None:
        raise asyncio.CancelledError

    made = site(app)
    with pytest.raises(asyncio.CancelledError):
        made.request()
    assert made._caplog.records[0].__dict__["facts"]["status"] == 504


def test_a_refusal_has_its_reason(site: MakeSite) -> None:
    for error, reason in (
        (errors.TooManyRequestsError("x"), "too_many_requests"),
        (errors.KeyWrongError("x"), "key_wrong"),
        (errors.Base64Error("x"), "base64_invalid"),
        (MemoryError(), "memory"),
    ):

        async def app(scope: Scope, receive: Receive, send: Send, error: Exception = error) -> None:
            await errors.respond(error)(scope, receive, send)

        before = counted("facebento_refusals_total", reason=reason)
        assert site(app).request()["reason"] == reason
        assert counted("facebento_refusals_total", reason=reason) == before + 1


def test_lifespan_goes_straight_through() -> None:
    seen = []

    async def app(scope: Scope, _: Receive, __: Send) -> None:
        seen.append(scope["type"])

    async def nothing(*_: Any) -> Any:
        pytest.fail("nothing is received or sent")

    asyncio.run(Entrance(AccessLog(app, REQUESTS), Endpoints([]))({"type": "lifespan"}, nothing, nothing))
    assert seen == ["lifespan"]
