"""The alert rules: promtool's own check, and when each of them fires, told by made-up series."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.deploy.queries import ALERTS, dashboard, of_dashboard, rules, selectors

PROMTOOL = shutil.which("promtool")
PAGE = (ALERTS.parents[2] / "docs" / "monitoring.md").read_text(encoding="utf-8")

WHERE = 'job="facebento",instance="a:3000"'
Values = dict[str, str]  # series -> its values, a minute apart, in promtool's notation


def slow(seconds: int) -> Values:
    """Requests of which each takes as long, one a second."""
    bounds = {10: seconds <= 10, 20: seconds <= 20, 30: seconds <= 30, "+Inf": True}
    name = f'facebento_request_duration_seconds_bucket{{{WHERE},endpoint="/v1/detect",status_class="2xx",le='
    without_key = {
        f'{name.replace("/v1/detect", path)}"{bound}"}}': "0+60000x60"
        for path in ("/", "/unknown", "/v1/health", "/v1/info/server")
        for bound in bounds
    }
    return {f'{name}"{bound}"}}': "0+60x60" if within else "0x60" for bound, within in bounds.items()} | {
        f"facebento_deadline_seconds{{{WHERE}}}": "30x60",
        **without_key,
    }


def requests(good: int, bad: int) -> Values:
    """Answered a minute; the bad ones with 503. Many more come without a key."""
    of = f'facebento_requests_total{{{WHERE},endpoint="/v1/detect",key="billing",status='
    return {
        f'{of}"200"}}': f"0+{good}x60",
        f'{of}"503"}}': f"0+{bad}x60",
    } | {
        f'facebento_requests_total{{{WHERE},endpoint="{endpoint}",key="-",status="{status}"}}': "0+60000x60"
        for endpoint, status in (("/v1/detect", 401), ("/page/{name}", 304), ("/v1/info/server", 503))
    }


def admissions(admitted: int, refused: int) -> Values:
    of = f"facebento_admissions_total{{{WHERE},outcome="
    return {f'{of}"admitted"}}': f"0+{admitted}x60", f'{of}"places"}}': f"0+{refused}x60"}


def waiting(count: int) -> Values:
    return {
        f'facebento_requests_in_flight{{{WHERE},state="waiting"}}': f"{count}x60",
        f'facebento_requests_in_flight{{{WHERE},state="working"}}': "16x60",
        f'facebento_requests_limit{{{WHERE},bound="working"}}': "16x60",
        f'facebento_requests_limit{{{WHERE},bound="in_flight"}}': "512x60",
    }


def queued(seconds: float) -> Values:
    """Calls, one a second, that wait for so long each."""
    of = f'{WHERE},runner="detector"'
    return {
        f"facebento_runner_queue_seconds_sum{{{of}}}": f"0+{60 * seconds:g}x60",
        f"facebento_runner_queue_seconds_count{{{of}}}": "0+60x60",
    }


def started(each_minutes: int) -> Values:
    """A process that is replaced so often."""
    values = " ".join(str(minute // each_minutes + 1) for minute in range(60))
    return {
        f'facebento_process_starts_total{{{WHERE},process="api"}}': values,
        f'facebento_process_start_time_seconds{{{WHERE},process="api",pid="7"}}': "1x60",
    }


def started_as_a_whole(each_minutes: int) -> Values:
    """A service that is replaced so often, and with it its counts."""
    began = " ".join(str(minute // each_minutes + 1) for minute in range(60))
    return {
        f'facebento_process_starts_total{{{WHERE},process="api"}}': "1x60",
        f'facebento_process_start_time_seconds{{{WHERE},process="api",pid="7"}}': began,
    }


def part(name: str, used: float, **labels: str) -> Values:
    where = ",".join([WHERE, *(f'{label}="{value}"' for label, value in labels.items())])
    used_name, total_name = name.split()
    return {f"{used_name}{{{where}}}": f"{used:g}x60", f"{total_name}{{{where}}}": "100x60"}


def a_day_later(today: int) -> Values:
    """Requests a minute since yesterday, and so many today, of an instance that took the place of another."""
    of = 'facebento_admissions_total{{job="facebento",instance="{}:3000",outcome="admitted"}}'
    return {of.format("a"): f"0+5x{24 * 60}", of.format("b"): f"_x{24 * 60} 0+{today}x60"}


OF_GPU = "facebento_gpu_memory_used_bytes facebento_gpu_memory_total_bytes"
OF_MEMORY = "facebento_memory_held_bytes facebento_memory_limit_bytes"
WRONG = f'facebento_refusals_total{{{WHERE},reason="key_wrong"}}'

# Alert -> what makes it fire, and what is near to that and does not, after half an hour.
CASES: dict[str, tuple[Values, Values]] = {
    "FacebentoDown": ({f"up{{{WHERE}}}": "0x60"}, {f"up{{{WHERE}}}": "1x60", 'up{job="other"}': "0x60"}),
    "FacebentoNotReady": ({f"facebento_ready{{{WHERE}}}": "0x60"}, {f"facebento_ready{{{WHERE}}}": "0x28 1x30"}),
    "FacebentoRunnerDown": (
        {f'facebento_runner_up{{{WHERE},runner="detector"}}': "0x60"},
        {f'facebento_runner_up{{{WHERE},runner="detector"}}': "1x60"},
    ),
    "FacebentoRestarting": (started(3), started(14)),
    "FacebentoErrors": (requests(90, 10), requests(99, 1)),
    "FacebentoSaturated": (admissions(97, 3), admissions(1000, 3)),
    "FacebentoSlow": (slow(27), slow(15)),
    "FacebentoQueueGrowing": (waiting(40), waiting(10)),
    "FacebentoRunnerQueueGrowing": (queued(2), queued(0.2)),
    "FacebentoMemoryFull": (part(OF_MEMORY, 95, of="images"), part(OF_MEMORY, 80, of="images")),
    "FacebentoGpuMemory": (part(OF_GPU, 97, device="cuda:0"), part(OF_GPU, 90, device="cuda:0")),
    "FacebentoWrongKeys": ({WRONG: "0+120x60"}, {WRONG: "0+12x60"}),
    "FacebentoNoRequests": (a_day_later(0), a_day_later(5)),
}


def test_every_alert_has_its_cases() -> None:
    assert set(CASES) == {rule["alert"] for rule in rules()}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_what_to_do_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}
    assert len(rule["annotations"]["description"]) > 60
    assert rule["annotations"]["runbook"] == f"docs/monitoring.md#{rule['alert'].lower()}"
    assert re.search(rf"^### {rule['alert']}\n\n\*{rule['labels']['severity']}\.\*", PAGE, re.MULTILINE)


def test_the_dashboard_is_one_that_grafana_shows_everywhere() -> None:
    found = dashboard()
    assert found["uid"] == "facebento"
    assert [each["name"] for each in found["templating"]["list"]] == ["datasource", "job", "instance"]
    panels = found["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {(x, y) for each in panels for x in columns(each) for y in rows(each)}
    assert len(places) == sum(each["gridPos"]["w"] * each["gridPos"]["h"] for each in panels), "two panels overlap"
    for panel in panels:
        if panel["type"] != "row":
            assert panel["description"], panel["title"]
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            for target in panel["targets"]:
                assert target["datasource"] == panel["datasource"]
    for query in of_dashboard().values():
        for selector in selectors(query):
            assert {("job", "=~", ".*"), ("instance", "=~", ".*")} <= selector.labels, query


def columns(panel: dict[str, Any]) -> range:
    assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    return range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])


def rows(panel: dict[str, Any]) -> range:
    return range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (it comes with prometheus)")
def test_promtool_finds_nothing_wrong() -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (it comes with prometheus)")
def test_each_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    def group(alert: str, values: Values, *, fires: bool) -> dict[str, Any]:
        at = "30m" if alert != "FacebentoNoRequests" else "25h"
        state = f'count by (alertname) (ALERTS{{alertname="{alert}",alertstate="firing"}})'
        samples = [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if fires else []
        return {
            "interval": "1m",
            "input_series": [{"series": name, "values": told} for name, told in values.items()],
            "promql_expr_test": [{"expr": state, "eval_time": at, "exp_samples": samples}],
        }

    groups = [group(alert, bad, fires=True) for alert, (bad, _) in CASES.items()]
    groups += [group("FacebentoRestarting", started_as_a_whole(each), fires=each < 10) for each in (3, 14)]
    groups += [group(alert, good, fires=False) for alert, (_, good) in CASES.items()]
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "10m", "tests": groups}))
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr + json.dumps(groups)
