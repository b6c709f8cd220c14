"""What a real service tells Prometheus, against the documentation, the dashboard and the alerts, and in a real one."""

import contextlib
import json
import re
import shutil
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from runners.gpu import Gpu
from tests.deploy.queries import ALERTS, OF_PROMETHEUS, grouped_by, of_alerts, of_dashboard, selectors
from tests.e2e.running import HTTP, PROJECT, Server, free_port
from tests.runners.nvml import pretend

pytestmark = pytest.mark.e2e

PHOTO = (PROJECT / "docs" / "images" / "astronaut.jpg").read_bytes()
PAGE = (PROJECT / "docs" / "monitoring.md").read_text(encoding="utf-8")

Series = dict[str, list[dict[str, str]]]  # name -> the labels of each


@pytest.fixture(scope="module")
def gpu() -> str:
    """What is told of a GPU, which is played."""
    registry = CollectorRegistry()
    with pytest.MonkeyPatch.context() as patch:
        pretend(patch)
        Gpu("cuda:0", registry).tell()
    return generate_latest(registry).decode()


@pytest.fixture(scope="module")
def told(server: Server, batching_server: Server, gpu: str) -> list[str]:
    """/metrics of both kinds of service, after some requests, and of a GPU."""
    for each in (server, batching_server):
        each.answer("/v1/file/detect", files={"image": PHOTO})
        each.answer("/v1/file/score", files={"image1": PHOTO, "image2": PHOTO})
        assert each.post("/v1/detect", json={"image": "?"}).status_code == 422
        assert each.post("/v1/detect", json={}, headers={"x-api-key": "wrong"}).status_code == 401
        assert HTTP.get(f"{each.url}/nowhere").status_code == 404
        assert each.read("/v1/health")["ready"]
    return [*(HTTP.get(f"{each.url}/metrics").text for each in (server, batching_server)), gpu]


@pytest.fixture(scope="module")
def series(told: list[str]) -> Series:
    found: Series = defaultdict(list)
    for text in told:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found[sample.name].append(sample.labels)
    found["up"] = [{}]  # Prometheus' own
    return found


def test_the_page_lists_every_metric_with_its_type_and_labels(told: list[str]) -> None:
    real = set()
    for text in told:
        for family in text_string_to_metric_families(text):
            if family.name.startswith("facebento_"):
                name = family.name + ("_total" if family.type == "counter" else "")
                labels = {label for sample in family.samples for label in sample.labels} - {"le"}
                real.add((name, family.type, frozenset(labels)))
    rows = re.findall(r"^\| `(facebento_\w+)` \| (\w+) \|([^|]*)\|", PAGE, re.MULTILINE)
    assert {(name, kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows} == real
    assert len(rows) == len(real)


def on_page() -> dict[str, str]:
    """The queries that the page shows."""
    lines = [
        line
        for block in re.findall(r"```promql\n(.*?)```", PAGE, re.DOTALL)
        for line in block.splitlines()
        if not line.startswith("#")
    ]
    assert lines
    return {line: line for line in lines}


@pytest.mark.parametrize("query", [*of_dashboard().values(), *of_alerts().values(), *on_page().values()])
def test_a_query_asks_for_what_the_service_tells(query: str, series: Series) -> None:
    asked = list(selectors(query))
    assert asked
    known = set(OF_PROMETHEUS)
    for selector in asked:
        assert series[selector.metric], selector
        labels = {label for each in series[selector.metric] for label in each}
        known |= labels
        for name, operator, value in selector.labels:
            assert name in labels | OF_PROMETHEUS, selector
            # What there may be at any time, and not only after a failure, is there now.
            if operator in ("=", "!=") and name not in {"job", "instance", "status"}:
                assert value in {each.get(name) for each in series[selector.metric]}, selector
    assert grouped_by(query) <= known


def test_it_would_be_seen_if_a_query_asked_for_something_else(series: Series) -> None:
    for query in (
        "facebento_requests",
        'facebento_requests_total{code="200"}',
        "sum by (path) (facebento_requests_total)",
        'facebento_requests_in_flight{state="sleeping"}',
        "rate(facebento_image_faces_bucket[1h]) / on (fingerprint) facebento_ready",
    ):
        with pytest.raises(AssertionError):
            test_a_query_asks_for_what_the_service_tells(query, series)


# A real Prometheus.


@pytest.fixture(scope="module")
def exporter(gpu: str) -> Iterator[str]:
    """host:port of one that tells of a GPU."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/plain")
            self.end_headers()
            self.wfile.write(gpu.encode())

        def log_message(self, *_: object) -> None: ...  # pytest shows it

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Prometheus:
    def __init__(self, url: str) -> None:
        self._url = url

    def get(self, what: str, **parameters: str) -> Any:
        answer = HTTP.get(f"{self._url}/api/v1/{what}", params=parameters).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def ask(self, query: str) -> list[Any]:
        found: list[Any] = self.get("query", query=query)["result"]
        return found


@pytest.fixture(scope="module")
def prometheus(
    server: Server,
    batching_server: Server,
    told: list[str],
    exporter: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Prometheus]:
    """One that has asked all of them, with the alerts."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed")
    assert told
    folder = tmp_path_factory.mktemp("prometheus")
    targets = [*(each.url.removeprefix("http://") for each in (server, batching_server)), exporter]
    configuration = {
        "global": {"scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "250ms"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [{"job_name": "facebento", "static_configs": [{"targets": targets}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(configuration), encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [program, "--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={address}"],
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        found = Prometheus(f"http://{address}")
        end = time.monotonic() + 60
        while True:
            assert process.poll() is None, (folder / "output").read_text(encoding="utf-8")
            assert time.monotonic() < end, (folder / "output").read_text(encoding="utf-8")
            time.sleep(0.1)
            with contextlib.suppress(httpx.TransportError, ValueError):  # it is not there yet, or says so in words
                # A rate takes two.
                if len(found.ask("count_over_time(up[1m]) >= 2")) == len(targets) and judged(found):
                    break
        yield found
    finally:
        process.terminate()
        process.wait(30)


def judged(prometheus: Prometheus) -> bool:
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    return all(rule["health"] != "unknown" for rule in rules)


def test_every_query_of_the_dashboard_and_the_page_finds_something(prometheus: Prometheus) -> None:
    # But for what there is only after a failure, or an hour.
    queries = [*of_dashboard().items(), *on_page().items()]
    empty = {name for name, query in queries if not prometheus.ask(query)}
    assert {name for name in empty if 'status=~"5.."' not in dict(queries)[name]} == set()
    assert len(empty) < len(queries) / 10


def test_every_alert_can_be_judged_and_none_fires(prometheus: Prometheus) -> None:
    found = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in found} == set(of_alerts())
    # One whose two sides don't match one to one ends in an error, and only there.
    assert [(rule["name"], rule.get("lastError")) for rule in found if rule["health"] != "ok"] == []
    assert [rule["name"] for rule in found if rule["state"] == "firing"] == []
