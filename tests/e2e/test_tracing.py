"""Traces of a service whose models run in processes of their own, as a collector gets them; and without a collector."""

import json
import re
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.collector import CollectorServer, Told, collecting
from tests.e2e.running import HTTP, PROJECT, Server, encoded, make_server

pytestmark = pytest.mark.e2e

PHOTO = (PROJECT / "docs" / "images" / "astronaut.jpg").read_bytes()
TABLES = [
    line for line in (PROJECT / "docs" / "tracing.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")
]
CLIENT = "b7ad6b7169203331"
MARK = f"needle{secrets.token_hex(6)}"
HOSTILE = {"tracestate": f"{MARK}=1", "baggage": f"{MARK}=1", "user-agent": MARK, "x-forwarded-for": MARK}


@pytest.fixture(scope="module")
def collector() -> Iterator[CollectorServer]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def traced(collector: CollectorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {
        "FACEBENTO_PLACEMENT": "processes",
        "FACEBENTO_TRACES": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "2",
    }
    server = make_server(tmp_path_factory.mktemp("traced"), settings)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def new_trace() -> tuple[str, dict[str, str]]:
    """Its id, and the headers of a request in it."""
    trace = secrets.token_hex(16)
    return trace, {"traceparent": f"00-{trace}-{CLIENT}-01"} | HOSTILE


def whole(collector: CollectorServer, trace: str, *, calls: int, requests: int = 1) -> list[Told]:
    """All spans of a trace with that many requests and calls of runners, in the order in which they began.

    Each process sends its own when it likes.
    """
    end = time.monotonic() + 30
    with collector.came:
        while True:
            spans = sorted((span for span in collector.spans if span.trace == trace), key=lambda span: span.began)
            servers = [span.role == "api" for span in spans if span.kind == 2]
            if sum(servers) == requests and len(servers) == requests + calls:
                return spans
            assert time.monotonic() < end, spans
            collector.came.wait(1)


def below(spans: list[Told], parent: str) -> list[Told]:
    return [span for span in spans if span.parent == parent]


def test_one_trace_goes_from_the_client_to_the_batches(traced: Server, collector: CollectorServer) -> None:
    trace, headers = new_trace()
    images = {"image1": PHOTO, "image2": PHOTO}
    response = traced.post("/v1/file/score", files=images, headers=headers | {"x-request-id": "mine"})
    assert response.status_code == 200
    spans = whole(collector, trace, calls=3)
    [request] = below(spans, CLIENT)
    assert (request.name, request.kind, request.role, request.failed) == ("POST /v1/file/score", 2, "api", False)
    assert request.attributes["facebento.request_id"] == "mine"
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["facebento.faces"] == 2
    stages = below(spans, request.id)
    names = {"receive", "wait", "memory", "queue", "decode", "detect", "align", "embed", "encode"}
    assert {span.name for span in stages} == names
    calls = [call for stage in stages for call in below(spans, stage.id)]
    assert sorted((call.name, call.role, call.kind) for call in calls) == [
        ("detector/detect", "detector", 2),
        ("detector/detect", "detector", 2),
        ("embedder/embed", "embedder", 2),
    ]
    for call in calls:
        [stage] = [stage for stage in stages if stage.id == call.parent]
        assert stage.name == {"detector": "detect", "embedder": "embed"}[call.role]
        queue, batch = below(spans, call.id)
        assert (queue.name, batch.name) == ("queue", "batch")
        assert queue.ended == batch.began
        assert batch.attributes["facebento.batch.calls"] >= 1
        assert batch.attributes["facebento.batch.rows"] >= 1
        assert batch.attributes["facebento.model"].startswith({"detect": "centerface:", "embed": "dlib-"}[stage.name])
        assert batch.attributes["facebento.device"] == "cpu"
        assert batch.links
    for span in spans:
        around = next((each for each in spans if each.id == span.parent), span)
        assert around.began <= span.began <= span.ended <= around.ended
    line = next(json.loads(each) for each in traced.output.splitlines() if '"request_id": "mine"' in each)
    assert (line["trace_id"], line["span_id"]) == (trace, request.id)
    assert len({span.resource["service.instance.id"] for span in spans}) == 3


def test_the_page_names_every_span_and_attribute(traced: Server, collector: CollectorServer) -> None:
    trace, headers = new_trace()
    assert traced.post("/v1/file/detect", files={"image": b"no picture"}, headers=headers).status_code == 422
    [request] = below(whole(collector, trace, calls=0), CLIENT)
    assert request.attributes["facebento.reason"] == "image_unsupported_format"
    described = set(re.findall(r"`([^`]+)`", "\n".join(TABLES)))
    for span in collector.spans:
        assert "POST " in span.name or span.name in described
        assert not {*span.attributes, *span.resource} - described


def test_nothing_secret_and_nothing_that_a_client_writes_leaves(traced: Server, collector: CollectorServer) -> None:
    trace, headers = new_trace()
    embeddings = traced.answer(f"/v1/embeddings?{MARK}", json={"image": encoded(PHOTO), MARK: MARK}, headers=headers)[
        "embeddings"
    ]
    feature = traced.answer("/v1/file/feature", files={"image": (MARK, PHOTO)}, headers=headers)["feature"]
    for path, key in (("/v1/detect", MARK), (f"/{MARK}", traced.key), (f"/v1/info/model/{MARK}", traced.key)):
        HTTP.post(f"{traced.url}{path}", headers=headers | {"x-api-key": key}, content=MARK)
        HTTP.get(f"{traced.url}{path}?{MARK}", headers=headers | {"x-api-key": key})
    for path in ("/v1/health", "/livez", "/readyz", "/metrics"):
        HTTP.get(traced.url + path, headers=headers)
    last, headers = new_trace()
    traced.answer("/v1/file/detect", files={"image": PHOTO}, headers=headers)
    whole(collector, last, calls=1)
    # Only the two that were answered.
    assert [span.name for span in whole(collector, trace, calls=4, requests=2) if span.parent == CLIENT] == [
        "POST /v1/embeddings",
        "POST /v1/file/feature",
    ]
    sent = b"".join(collector.bodies)
    for secret in (MARK, traced.key, feature[:24], feature[40:64], encoded(PHOTO)[:24], *HOSTILE):
        assert secret.encode() not in sent
    assert PHOTO[100:116] not in sent
    told = json.dumps([[span.attributes, span.resource] for span in collector.spans])
    assert not [number for number in embeddings if repr(number) in told]
    assert set(collector.paths) == {"/v1/traces"}


def test_without_a_collector_requests_are_answered_and_the_log_says_so_once(
    traced: Server, collector: CollectorServer
) -> None:
    collector.shutdown()
    collector.server_close()
    with ThreadPoolExecutor(4) as clients:
        ask: Callable[[int], object] = lambda _: traced.answer("/v1/file/embeddings", files={"image": PHOTO})  # noqa: E731
        list(clients.map(ask, range(8)))
    end = time.monotonic() + 30
    while "spans can't be sent" not in traced.output:
        assert time.monotonic() < end
        time.sleep(0.05)
    began = time.monotonic()
    assert traced.stop() == 0
    assert time.monotonic() - began < 20  # far below the 30 s for which OpenTelemetry would wait
    lines = [json.loads(line) for line in traced.output.splitlines() if line.startswith("{")]
    collectors = "spans can't be sent", "opentelemetry", "urllib3", collector.url
    warnings = [line for line in lines if any(each in json.dumps(line) for each in collectors)]
    assert {line["logger"] for line in warnings} == {"facebento.tracing"}
    assert len(warnings) == len({line["pid"] for line in warnings}), "more than one of a process"
    assert "Connection refused" in warnings[0]["message"]
