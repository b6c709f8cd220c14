"""The pods: what they may do, what they are given, when they count as alive, and how they go."""

import re
from typing import Any

import pytest

from tests.deploy.conftest import REQUIRED, Helm, Object, Rendered

COMPONENTS = {None: ["api"], "cpu": ["api"], "gpu": ["api"], "split": ["api", "detector", "embedder"]}
PODS = [(example, component) for example, components in COMPONENTS.items() for component in components]
BACKSTOP_S = 5  # after the deadline BentoML answers by itself: service.py


def arguments(rendered: Rendered, component: str = "api") -> list[str]:
    found: list[str] = rendered.container(component).get("args", [])
    return found


@pytest.mark.parametrize(("example", "component"), PODS)
def test_a_pod_may_do_nothing_that_it_does_not_need(helm: Helm, example: str | None, component: str) -> None:
    pod = helm.render(example=example).pod(component)
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "initContainers"}
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert (context["runAsUser"], context["runAsGroup"]) == (1034, 1034)
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    [container] = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [port["containerPort"] for port in container["ports"]] == [3000]
    assert not any("hostPort" in port for port in container["ports"])


@pytest.mark.parametrize(("example", "component"), PODS)
def test_only_the_scratch_can_be_written(helm: Helm, example: str | None, component: str) -> None:
    rendered = helm.render(example=example)
    [mount] = [each for each in rendered.container(component)["volumeMounts"] if not each.get("readOnly")]
    assert mount["mountPath"] == "/tmp"  # noqa: S108  the container's
    [volume] = [each for each in rendered.pod(component)["volumes"] if each["name"] == mount["name"]]
    # On the node's disk: it would count as memory otherwise. CUDA's cache alone may take 1 GiB.
    assert volume["emptyDir"] == {"sizeLimit": "2Gi"}


@pytest.mark.parametrize(("deadline", "wait"), [(0.5, 1), (30, 20), (100.5, 5), (3600, 5)])
@pytest.mark.parametrize("example", [None, "split"])
def test_a_pod_has_time_to_answer_all_it_has_in_work(
    helm: Helm, example: str | None, deadline: float, wait: int
) -> None:
    rendered = helm.render({"settings": {"FACEBENTO_DEADLINE_S": deadline}, "preStopSeconds": wait}, example=example)
    for component in COMPONENTS[example]:
        container, grace = rendered.container(component), rendered.pod(component)["terminationGracePeriodSeconds"]
        assert container["lifecycle"]["preStop"] == {"sleep": {"seconds": wait}}
        assert grace > wait + deadline + BACKSTOP_S
        assert float(rendered.environment(component)["FACEBENTO_DEADLINE_S"]) == deadline


@pytest.mark.parametrize(("example", "component"), PODS)
def test_probes(helm: Helm, example: str | None, component: str) -> None:
    container = helm.render(example=example).container(component)
    startup, readiness, liveness = (container[f"{name}Probe"] for name in ("startup", "readiness", "liveness"))
    for probe in (startup, readiness, liveness):
        assert probe["httpGet"]["port"] == container["ports"][0]["name"]
    assert readiness["httpGet"]["path"] == "/readyz"
    assert liveness["httpGet"]["path"] == "/livez"
    # The API of a split release lives without its runners, and must not be restarted for their sake.
    alone = example == "split" and component == "api"
    assert startup["httpGet"]["path"] == ("/livez" if alone else "/readyz")
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 300
    assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 60


# The devices.


def test_a_pod_on_the_cpu_gets_no_gpu(helm: Helm) -> None:
    rendered = helm.render()
    environment = rendered.environment()
    assert environment["FACEBENTO_DEVICE"] == "cpu"
    assert environment["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert "nvidia.com/gpu" not in str(rendered.one("Deployment"))
    assert rendered.one("Deployment")["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


GPU: Object = {
    "enabled": True,
    "resource": "nvidia.com/mig-1g.10gb",
    "runtimeClassName": "nvidia",
    "nodeSelector": {"gpu": "yes", "pool": "gpus"},
}


@pytest.mark.parametrize(("example", "component"), PODS)
def test_each_pod_with_models_gets_one_gpu(helm: Helm, example: str | None, component: str) -> None:
    rendered = helm.render({"gpu": GPU, "nodeSelector": {"disk": "fast", "pool": "cpus"}}, example=example)
    pod, environment = rendered.pod(component), rendered.environment(component)
    gpus = rendered.container(component)["resources"]["limits"].get("nvidia.com/mig-1g.10gb")
    update = rendered.one("Deployment", component)["spec"]["strategy"]["rollingUpdate"]
    if example == "split" and component == "api":
        assert gpus is None
        assert "FACEBENTO_DEVICE" not in environment
        assert environment["NVIDIA_VISIBLE_DEVICES"] == "void"
        assert pod["nodeSelector"] == {"disk": "fast", "pool": "cpus"}
        assert not pod.keys() & {"tolerations", "runtimeClassName"}
        assert update == {"maxSurge": 1, "maxUnavailable": 0}
        return
    assert gpus == 1
    assert environment["FACEBENTO_DEVICE"] == "cuda"
    assert "NVIDIA_VISIBLE_DEVICES" not in environment  # the device plugin sets it
    assert pod["nodeSelector"] == {"disk": "fast", "gpu": "yes", "pool": "gpus"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert pod["runtimeClassName"] == "nvidia"
    # A new pod would wait for a GPU that the old one has.
    assert update == {"maxSurge": 0, "maxUnavailable": 1}


def test_the_examples_ask_for_what_they_are_called_by(helm: Helm) -> None:
    def gpus(example: str) -> list[int]:
        rendered = helm.render(example=example)
        limits = [rendered.container(component)["resources"]["limits"] for component in COMPONENTS[example]]
        return [each.get("nvidia.com/gpu", 0) for each in limits]

    assert (gpus("cpu"), gpus("gpu"), gpus("split")) == ([0], [1], [0, 1, 1])


def test_a_strategy_of_the_users_own(helm: Helm) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    rendered = helm.render({"gpu": GPU, "strategy": strategy})
    assert rendered.one("Deployment")["spec"]["strategy"] == strategy


# Cores and memory.

THREADS = ("FACEBENTO_THREADS", "FACEBENTO_DECODE_THREADS")


@pytest.mark.parametrize(("example", "component"), PODS)
def test_threads_are_left_to_the_service_which_sees_the_limit(helm: Helm, example: str | None, component: str) -> None:
    rendered = helm.render(example=example)
    assert not rendered.environment(component).keys() & set(THREADS)
    assert float(rendered.container(component)["resources"]["limits"]["cpu"]) >= 1


def test_without_a_limit_threads_must_be_set(helm: Helm) -> None:
    without_limit: dict[str, Any] = {"resources": {"limits": {"cpu": None}}}
    assert "resources.limits.cpu is not set" in helm.refusal({**REQUIRED, **without_limit})
    rendered = helm.render({**without_limit, "settings": dict.fromkeys(THREADS, 3)})
    assert [rendered.environment()[name] for name in THREADS] == ["3", "3"]
    assert "cpu" not in rendered.container()["resources"]["limits"]


def gib(quantity: str) -> float:
    return float(re.sub("Gi$", "", quantity))


@pytest.mark.parametrize(("example", "component"), PODS)
def test_the_memory_is_enough_for_the_worst_clients(helm: Helm, example: str | None, component: str) -> None:
    """The sum that stands in values.yaml."""
    rendered = helm.render(example=example)
    resources, environment = rendered.container(component)["resources"], rendered.environment(component)
    assert gib(resources["requests"]["memory"]) >= 1
    needed = 1e9
    if component == "api":
        needed += 1.6e9 * int(environment.get("FACEBENTO_WORKERS", 1))
    if environment.get("FACEBENTO_DEVICE") == "cuda":
        needed += 2e9
    assert gib(resources["limits"]["memory"]) * 2**30 >= needed
    # What utilization of the CPU, and so the autoscaler, is measured by.
    assert resources["requests"]["cpu"] == resources["limits"]["cpu"]


# The three services.


def test_one_pod_serves_all_by_default(helm: Helm) -> None:
    rendered = helm.render()
    assert len(rendered.all("Deployment")) == 1
    assert arguments(rendered) == []


def test_split_names_the_services_of_the_runners(helm: Helm) -> None:
    rendered = helm.render(example="split")
    assert arguments(rendered, "detector") == ["start-http-server", "--service-name=detector"]
    assert arguments(rendered, "embedder") == ["start-http-server", "--service-name=embedder"]
    depends = []
    for runner in ("detector", "embedder"):
        service = rendered.one("Service", runner)
        [port] = service["spec"]["ports"]
        depends.append(f"--depends={runner}=http://{service['metadata']['name']}:{port['port']}")
        assert port["targetPort"] == rendered.container(runner)["ports"][0]["name"]
    assert arguments(rendered) == ["start-http-server", "--service-name=facebento", *depends]
