"""How many pods there are, what is measured of them, and how many may go at a time."""

import json
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.deploy.conftest import KUBERNETES, Helm, Object

DEPLOY = KUBERNETES.parent
CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}


def monitor(helm: Helm, **values: Any) -> Object:
    return helm.render({"serviceMonitor": {"enabled": True, **values}}).one("ServiceMonitor")


def adapter_rule() -> Object:
    values = yaml.safe_load((KUBERNETES / "prometheus-adapter.yaml").read_text(encoding="utf-8"))
    [rule] = values["rules"]["custom"]
    found: Object = rule
    return found


def test_there_is_no_autoscaler_unless_asked_for(helm: Helm) -> None:
    rendered = helm.render({"replicas": 3})
    assert rendered.all("HorizontalPodAutoscaler") == []
    assert rendered.one("Deployment")["spec"]["replicas"] == 3


def test_by_default_the_cpu_decides(helm: Helm) -> None:
    rendered = helm.render({"autoscaling": {"enabled": True, "maxReplicas": 9}})
    spec = rendered.one("HorizontalPodAutoscaler")["spec"]
    assert spec["metrics"] == [CPU]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 9)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": rendered.one("Deployment")["metadata"]["name"]}
    assert spec["scaleTargetRef"] == target
    # It would be set back with every upgrade.
    assert "replicas" not in rendered.one("Deployment")["spec"]
    # Without it, utilization can't be told.
    assert rendered.container()["resources"]["requests"]["cpu"]


def test_requests_in_flight_decide_with_the_cpu_behind_them(helm: Helm) -> None:
    scaling = {"enabled": True, "metric": "requestsInFlight", "requestsInFlight": 5, "cpuUtilization": 70}
    requests, cpu = helm.render({"autoscaling": scaling}).one("HorizontalPodAutoscaler")["spec"]["metrics"]
    assert cpu == CPU
    assert requests == {
        "type": "Pods",
        "pods": {
            "metric": {"name": adapter_rule()["name"]["as"]},
            "target": {"type": "AverageValue", "averageValue": "5"},
        },
    }


def test_in_split_mode_the_api_is_scaled_and_the_runners_are_as_many_as_told(helm: Helm) -> None:
    runners = {"detector": {"replicas": 2}, "embedder": {"replicas": 3}}
    rendered = helm.render({"split": runners}, example="split")
    [scaler] = rendered.all("HorizontalPodAutoscaler")
    assert scaler["spec"]["scaleTargetRef"]["name"] == rendered.one("Deployment")["metadata"]["name"]
    assert "replicas" not in rendered.one("Deployment")["spec"]
    assert rendered.one("Deployment", "detector")["spec"]["replicas"] == 2
    assert rendered.one("Deployment", "embedder")["spec"]["replicas"] == 3


@pytest.mark.parametrize("example", [None, "gpu", "split"])
def test_a_budget_never_keeps_the_last_pod(helm: Helm, example: str | None) -> None:
    rendered = helm.render(example=example)
    assert len(rendered.all("PodDisruptionBudget")) == len(rendered.all("Deployment"))
    for budget in rendered.all("PodDisruptionBudget"):
        assert "minAvailable" not in budget["spec"]
        assert budget["spec"]["maxUnavailable"] == 1
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert helm.render({"podDisruptionBudget": {"enabled": False}}).all("PodDisruptionBudget") == []


def test_pods_keep_apart_where_they_can(helm: Helm) -> None:
    rendered = helm.render(example="split")
    for component in ("api", "detector", "embedder"):
        deployment = rendered.one("Deployment", component)
        constraints = rendered.pod(component)["topologySpreadConstraints"]
        assert [each["topologyKey"] for each in constraints] == [
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
        ]
        for each in constraints:
            assert each["whenUnsatisfiable"] == "ScheduleAnyway"  # one node is enough
            assert each["labelSelector"] == deployment["spec"]["selector"]


# Metrics.


def test_the_service_monitor_is_one(helm: Helm) -> None:
    assert helm.render().all("ServiceMonitor") == []
    found = monitor(helm, interval="30s", labels={"release": "prometheus"})
    assert found["apiVersion"] == "monitoring.coreos.com/v1"
    assert found["metadata"]["labels"]["release"] == "prometheus"
    assert found["spec"].keys() == {"selector", "namespaceSelector", "endpoints"}
    assert found["spec"]["namespaceSelector"] == {"matchNames": [found["metadata"]["namespace"]]}
    [endpoint] = found["spec"]["endpoints"]
    assert endpoint.keys() == {"port", "path", "interval", "relabelings"}
    assert (endpoint["path"], endpoint["interval"]) == ("/metrics", "30s")
    for each in endpoint["relabelings"]:
        assert each.keys() <= {"action", "regex"}


def test_the_service_monitor_finds_the_api_only(helm: Helm) -> None:
    rendered = helm.render({"serviceMonitor": {"enabled": True}}, example="split")
    spec = rendered.one("ServiceMonitor")["spec"]
    selected = spec["selector"]["matchLabels"].items()
    found = [each for each in rendered.all("Service") if selected <= each["metadata"]["labels"].items()]
    assert found == [rendered.one("Service")]
    [port] = found[0]["spec"]["ports"]
    assert spec["endpoints"][0]["port"] == port["name"]


def test_the_path_of_a_request_keeps_its_label(helm: Helm) -> None:
    # The operator adds a label `endpoint` of its own, and Prometheus would rename the service's to exported_endpoint.
    assert {"action": "labeldrop", "regex": "endpoint"} in monitor(helm)["spec"]["endpoints"][0]["relabelings"]
    assert 'endpoint=~"/v1/.+"' in adapter_rule()["metricsQuery"]


def test_the_adapter_asks_for_a_series_of_the_service() -> None:
    rule = adapter_rule()
    # That the service has it is tested in test_chart_split.py.
    assert rule["seriesQuery"].startswith("bentoml_service_request_duration_seconds_sum{")
    assert rule["resources"]["overrides"] == {"namespace": {"resource": "namespace"}, "pod": {"resource": "pod"}}
    for part in ("<<.Series>>", "<<.LabelMatchers>>", "<<.GroupBy>>", 'runner_name="facebento"'):
        assert part in rule["metricsQuery"]


def test_the_alerts_are_those_of_prometheus_without_an_operator(helm: Helm) -> None:
    assert helm.render().all("PrometheusRule") == []
    rule = helm.render({"prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}}}).one("PrometheusRule")
    assert rule["apiVersion"] == "monitoring.coreos.com/v1"
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    assert rule["spec"] == yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text(encoding="utf-8"))


def test_the_dashboard_is_the_one_to_import(helm: Helm) -> None:
    assert helm.render().all("ConfigMap") == []
    [found] = helm.render({"dashboard": {"enabled": True, "labels": {"folder": "faces"}}}).all("ConfigMap")
    assert found["metadata"]["labels"].items() >= {"grafana_dashboard": "1", "folder": "faces"}.items()
    file = DEPLOY / "grafana" / "facebento.json"
    assert json.loads(found["data"]["facebento.json"]) == json.loads(file.read_text(encoding="utf-8"))
