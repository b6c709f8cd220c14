"""The dashboard's and the alerts' queries, and what they ask for."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import yaml  # type: ignore[import-untyped]

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
DASHBOARD = DEPLOY / "grafana" / "facebento.json"

# What Prometheus adds to every series, and what it makes of histograms.
OF_PROMETHEUS = {"job", "instance", "namespace", "le"}

OPERATORS = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}


@dataclass(frozen=True)
class Selector:
    metric: str
    labels: frozenset[tuple[str, str, str]]  # name, operator, value


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found


def of_dashboard() -> dict[str, str]:
    """Panel and place -> query, with values for Grafana's variables."""
    return {
        f"{panel['title']} {target['refId']}, panel {panel['id']}": target["expr"]
        .replace("$__rate_interval", "1m")
        .replace("$job", ".*")
        .replace("$instance", ".*")
        for panel in dashboard()["panels"]
        for target in panel.get("targets", [])
    }


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def of_alerts() -> dict[str, str]:
    return {rule["alert"]: rule["expr"] for rule in rules()}


def parts(query: str) -> Iterator[Any]:
    """Every part of it. Raises ValueError where it is no PromQL."""
    left = [promql_parser.parse(query)]
    while left:
        part = left.pop()
        yield part
        for name in ("lhs", "rhs", "expr", "param", "vector_selector"):
            inner = getattr(part, name, None)
            if inner is not None:
                left.append(inner)
        left += getattr(part, "args", [])


def selectors(query: str) -> Iterator[Selector]:
    for part in parts(query):
        if isinstance(part, promql_parser.VectorSelector):
            matchers = frozenset((each.name, OPERATORS[str(each.op)], each.value) for each in part.matchers.matchers)
            assert part.name is not None, query
            yield Selector(part.name, matchers)


def grouped_by(query: str) -> set[str]:
    """The labels that it groups or matches by, or leaves out."""
    found: set[str] = set()
    for part in parts(query):
        modifier = getattr(part, "modifier", None)
        for labels in (modifier, getattr(modifier, "matching", None)):
            found |= set(getattr(labels, "labels", None) or [])
    return found
