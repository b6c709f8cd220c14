"""Who reaches whom."""

import itertools

import pytest

from tests.deploy.conftest import Helm, Object, Rendered

COMPONENTS = ["api", "detector", "embedder"]
EXAMPLES = [None, "cpu", "gpu", "split"]
TCP = [{"port": 3000, "protocol": "TCP"}]


def pods(rendered: Rendered) -> dict[str, dict[str, str]]:
    """Component -> the labels of its pods."""
    found = {}
    for deployment in rendered.all("Deployment"):
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        found[labels["app.kubernetes.io/component"]] = labels
    return found


def policies(rendered: Rendered, labels: dict[str, str]) -> list[Object]:
    """The specifications that hold for the pod with these labels."""
    specs = [each["spec"] for each in rendered.all("NetworkPolicy")]
    return [spec for spec in specs if spec["podSelector"]["matchLabels"].items() <= labels.items()]


def takes(rule: Object, direction: str, labels: dict[str, str], port: int) -> bool:
    """Whether the rule takes in a pod of the release's namespace."""
    if all(each["port"] != port for each in rule.get("ports", [{"port": port}])):
        return False
    if direction not in rule:  # everybody
        return True
    return any(
        each.get("podSelector", {}).get("matchLabels", {}).items() <= labels.items()
        for each in rule[direction]
        if "namespaceSelector" not in each and "ipBlock" not in each
    )


def reaches(rendered: Rendered, source: dict[str, str], target: dict[str, str], port: int) -> bool:
    """As Kubernetes sees it: where policies hold for a pod, what none of them allows is forbidden."""
    for labels, other, kind, direction in ((source, target, "egress", "to"), (target, source, "ingress", "from")):
        found = [spec for spec in policies(rendered, labels) if kind.title() in spec["policyTypes"]]
        rules = [rule for spec in found for rule in spec.get(kind) or []]
        if found and not any(takes(rule, direction, other, port) for rule in rules):
            return False
    return True


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_pod_is_closed_both_ways_but_for_what_is_named(helm: Helm, example: str | None) -> None:
    rendered = helm.render(example=example)
    stranger = {"app": "another"}
    for component, labels in pods(rendered).items():
        [policy] = policies(rendered, labels)
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        assert all(rule["ports"] == TCP for rule in policy["ingress"])
        assert reaches(rendered, stranger, labels, 3000) == (component == "api")
        for port in (22, 53, 80, 443, 3000, 3001):
            assert not reaches(rendered, labels, stranger, port)


@pytest.mark.parametrize("example", [None, "cpu", "gpu"])
def test_one_pod_reaches_nothing_at_all(helm: Helm, example: str | None) -> None:
    [policy] = [each["spec"] for each in helm.render(example=example).all("NetworkPolicy")]
    assert policy["egress"] == []
    assert policy["ingress"] == [{"ports": TCP}]


def test_only_the_api_reaches_the_runners(helm: Helm) -> None:
    rendered = helm.render(example="split")
    labels = pods(rendered)
    assert list(labels) == COMPONENTS
    for source, target in itertools.product(COMPONENTS, COMPONENTS):
        if source != target:
            allowed = source == "api" and target != "api"
            assert reaches(rendered, labels[source], labels[target], 3000) == allowed, (source, target)
            assert not reaches(rendered, labels[source], labels[target], 3001)
    # Nor does the API of another release.
    other = labels["api"] | {"app.kubernetes.io/instance": "other"}
    assert not reaches(rendered, other, labels["detector"], 3000)
    for runner in ("detector", "embedder"):
        assert rendered.one("NetworkPolicy", runner)["spec"]["egress"] == []
        # A peer from another namespace would need a namespaceSelector.
        [[peer]] = [rule["from"] for rule in rendered.one("NetworkPolicy", runner)["spec"]["ingress"]]
        assert peer.keys() == {"podSelector"}
        assert rendered.one("Service", runner)["spec"]["type"] == "ClusterIP"


def test_beyond_the_runners_the_api_reaches_the_names_only(helm: Helm) -> None:
    spec = helm.render(example="split").one("NetworkPolicy")["spec"]
    [names] = [rule for rule in spec["egress"] if rule["ports"] != TCP]
    assert names["ports"] == [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
    [peer] = names["to"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "kube-system"}
    assert peer["podSelector"]["matchLabels"] == {"k8s-app": "kube-dns"}
    cache = {"ipBlock": {"cidr": "169.254.20.10/32"}}
    spec = helm.render({"networkPolicy": {"dns": [cache]}}, example="split").one("NetworkPolicy")["spec"]
    assert [rule["to"] for rule in spec["egress"] if rule["ports"] != TCP] == [[cache]]


@pytest.mark.parametrize("example", [None, "split"])
def test_the_pods_reach_a_collector_that_the_policy_is_told_of_and_nothing_else(
    helm: Helm, example: str | None
) -> None:
    collector = {"app": "collector"}
    rule = {"to": [{"podSelector": {"matchLabels": collector}}], "ports": [{"port": 4318, "protocol": "TCP"}]}
    rendered = helm.render({"networkPolicy": {"egress": [rule]}}, example=example)
    for labels in pods(rendered).values():
        [policy] = policies(rendered, labels)
        assert rule in policy["egress"]
        names = [each["to"] for each in policy["egress"] if {"port": 53, "protocol": "UDP"} in each["ports"]]
        assert [peer["podSelector"] for [peer] in names] == [{"matchLabels": {"k8s-app": "kube-dns"}}]
        assert not reaches(rendered, labels, collector, 4317)
        assert not reaches(rendered, labels, {"app": "another"}, 4318)


@pytest.mark.parametrize("example", [None, "split"])
def test_who_may_reach_the_api_can_be_told(helm: Helm, example: str | None) -> None:
    client = {"podSelector": {"matchLabels": {"app": "client"}}}
    rendered = helm.render({"networkPolicy": {"from": [client]}}, example=example)
    api = pods(rendered)["api"]
    assert rendered.one("NetworkPolicy")["spec"]["ingress"] == [{"ports": TCP, "from": [client]}]
    assert reaches(rendered, {"app": "client"}, api, 3000)
    assert not reaches(rendered, {"app": "another"}, api, 3000)
    if example == "split":  # the runners' policies are no affair of it
        assert not reaches(rendered, {"app": "client"}, pods(rendered)["detector"], 3000)


def test_policies_may_be_left_to_others(helm: Helm) -> None:
    assert helm.render({"networkPolicy": {"enabled": False}}).all("NetworkPolicy") == []


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort", "LoadBalancer"])
def test_the_service_leads_to_the_api(helm: Helm, kind: str) -> None:
    rendered = helm.render({"service": {"type": kind, "port": 8080}}, example="split")
    service = rendered.one("Service")
    assert service["spec"]["type"] == kind
    [port] = service["spec"]["ports"]
    assert port["port"] == 8080
    assert port["targetPort"] == rendered.container()["ports"][0]["name"]
    assert service["spec"]["selector"].items() <= pods(rendered)["api"].items()
