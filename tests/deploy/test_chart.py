"""Whether Kubernetes takes what the chart makes, and what the chart takes from its user."""

import copy
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]

import api
from api import settings
from api.keys import Key
from api.settings import Settings
from tests.deploy.conftest import CHART, KUBERNETES, REQUIRED, Helm, Rendered, example_options

EXAMPLES = [None, "cpu", "gpu", "split"]
EVERYTHING = {
    "keys": {"values": ["billing=sha256:" + "0a" * 32, "fb_other"]},
    "imagePullSecrets": [{"name": "registry"}],
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "faces", "operator": "Exists"}],
    "strategy": {"type": "Recreate"},
    "gpu": {"enabled": True, "runtimeClassName": "nvidia", "nodeSelector": {"gpu": "yes"}},
    "networkPolicy": {"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}]},
    "autoscaling": {"enabled": True, "metric": "requestsInFlight"},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "dashboard": {"enabled": True},
}
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
DESCRIPTION = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
OLDEST = re.sub(r"^>=([0-9.]+)-0$", r"\1", DESCRIPTION["kubeVersion"])
NEWEST = kubernetes_validate.latest_version()


@pytest.mark.parametrize("example", EXAMPLES)
def test_lint_finds_nothing(helm: Helm, example: str | None) -> None:
    done = helm.run("lint", "--strict", CHART, *example_options(example), values=REQUIRED)
    assert done.returncode == 0, done.stdout
    assert "WARNING" not in done.stdout


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("example", [*EXAMPLES, "everything"])
def test_the_schemas_of_kubernetes_take_it(helm: Helm, example: str | None, version: str) -> None:
    rendered = helm.render(EVERYTHING) if example == "everything" else helm.render(example=example)
    for each in rendered:
        if each["apiVersion"] != "monitoring.coreos.com/v1":  # not Kubernetes' own: test_chart_scaling.py
            kubernetes_validate.validate(each, version, strict=True)
        assert each["metadata"]["namespace"] == "faces"


def test_the_schemas_would_not_take_an_unknown_field(helm: Helm) -> None:
    deployment = helm.render().one("Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="livenesProbe"):
        kubernetes_validate.validate(deployment, NEWEST, strict=True)


def test_the_versions_are_those_that_are_told() -> None:
    assert DESCRIPTION["appVersion"] == api.__version__
    assert re.fullmatch(r"1\.\d+\.0", OLDEST)
    told = (CHART / "Chart.yaml").read_text(encoding="utf-8")
    assert f"the schemas of {OLDEST.removesuffix('.0')} to {NEWEST.removesuffix('.0')}." in told


def test_the_objects_belong_together(helm: Helm) -> None:
    together, split = helm.render(), helm.render(example="split")
    # A selector can't be changed: an upgrade from one form to the other would be refused.
    assert together.one("Deployment")["spec"]["selector"] == split.one("Deployment")["spec"]["selector"]
    for rendered in (together, split):
        pods = {
            each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"].items()
            for each in rendered.all("Deployment")
        }
        for name in pods:
            selectors = [
                *(
                    each["spec"]["selector"]["matchLabels"]
                    for each in rendered.all("Deployment") + rendered.all("PodDisruptionBudget")
                    if each["metadata"]["name"] == name
                ),
                *(each["spec"]["selector"] for each in rendered.all("Service") if each["metadata"]["name"] == name),
                *(
                    each["spec"]["podSelector"]["matchLabels"]
                    for each in rendered.all("NetworkPolicy")
                    if each["metadata"]["name"] == name
                ),
            ]
            assert len(selectors) == 4
            for selector in selectors:
                assert [pod for pod, labels in pods.items() if selector.items() <= labels] == [name]
        [account] = rendered.all("ServiceAccount")
        for deployment in rendered.all("Deployment"):
            assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == account["metadata"]["name"]


def test_names_are_short_enough_for_any_release(helm: Helm) -> None:
    done = helm.run("template", "r" * 53, CHART, values={**REQUIRED, "split": {"enabled": True}})
    assert done.returncode == 0, done.stderr
    names = {each["metadata"]["name"] for each in yaml.safe_load_all(done.stdout)}
    assert {len(name) for name in names} == {53, 62}  # 63 is the most


# What the user must say.


@pytest.mark.parametrize("release", ["my.release", "1st", "2024"])
def test_a_release_whose_name_a_service_can_not_have_is_refused(helm: Helm, release: str) -> None:
    done = helm.run("template", release, CHART, values=REQUIRED)
    assert done.returncode != 0
    assert f"the release is called {release}: its name must begin with a letter" in done.stderr


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_image_is_the_one_that_was_named(helm: Helm, example: str | None) -> None:
    digest = "@sha256:" + "0f" * 32
    rendered = helm.render({"image": {"repository": "a/b", "tag": f"1.2.3-abc{digest}"}}, example=example)
    for deployment in rendered.all("Deployment"):
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        assert container["image"] == f"a/b:1.2.3-abc{digest}"
        assert deployment["metadata"]["labels"]["app.kubernetes.io/version"] == "1.2.3-abc"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image": {"tag": "1"}}, "image.repository is not set: name the image that you pushed"),
        ({"image": {"repository": "a"}}, "image.tag is not set: name one build"),
        ({"image": {"repository": "a", "tag": "latest"}}, "image.tag is latest: name one build"),
        ({"image": {"repository": "a", "tag": "1-cpu"}, "gpu": {"enabled": True}}, "the variant without CUDA"),
        ({"keys": {}}, "no keys: set keys.existingSecret to the name of a Secret with an entry api-keys"),
        ({"keys": {"existingSecret": "a", "values": ["b"]}}, "keys.existingSecret and keys.values are both set"),
        ({"resources": {"limits": {"cpu": None}}}, "resources.limits.cpu is not set: set it, or both settings"),
        (
            {"split": {"enabled": True, "embedder": {"resources": {"limits": {"cpu": None}}}}},
            "split.embedder.resources.limits.cpu is not set",
        ),
        (
            {"split": {"enabled": True}, "networkPolicy": {"enabled": False}},
            "split.enabled takes networkPolicy.enabled: the runners ask for no key",
        ),
        (
            {"split": {"enabled": True}, "autoscaling": {"enabled": True, "metric": "requestsInFlight"}},
            "split.enabled takes autoscaling.metric cpu",
        ),
        ({"autoscaling": {"enabled": True, "minReplicas": 9}}, "maxReplicas is less than autoscaling.minReplicas"),
        (
            {"autoscaling": {"enabled": True, "metric": "requestsInFlight", "requestsInFlight": 512}},
            "autoscaling.requestsInFlight must be less than settings.FACEBENTO_MAX_IN_FLIGHT",
        ),
    ],
)
def test_what_can_not_work_is_refused_with_what_to_set(helm: Helm, values: dict[str, Any], message: str) -> None:
    assert message in helm.refusal({**REQUIRED, **values})


def sections(values: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of everything in the values that has fixed names in it."""
    free = {("nodeSelector",), ("gpu", "nodeSelector"), ("serviceMonitor", "labels")}
    free |= {("prometheusRule", "labels"), ("dashboard", "labels")}
    if path not in free and path[-1:] not in (("requests",), ("limits",)):
        yield path
        for name, value in values.items():
            if isinstance(value, dict):
                yield from sections(value, (*path, name))


@pytest.mark.parametrize("path", list(sections(DEFAULTS)), ids=".".join)
def test_a_misspelt_value_is_refused(helm: Helm, path: tuple[str, ...]) -> None:
    values = copy.deepcopy(REQUIRED)
    section: dict[str, Any] = values
    for name in path:
        section = section.setdefault(name, {})
    section["mispselt"] = 1
    assert "Additional property mispselt is not allowed" in helm.refusal(values)


@pytest.mark.parametrize(
    "values",
    [
        {"replicas": "2"},
        {"preStopSeconds": 0},
        {"settings": {"FACEBENTO_API_KEYS": "secret"}},
        {"settings": {"FACEBENTO_DEVICE": "cuda"}},
        {"settings": {"FACEBENTO_DEADLINE_S": None}},
        {"podDisruptionBudget": {"maxUnavailable": 0}},
        {"podDisruptionBudget": {"maxUnavailable": "0%"}},
        {"autoscaling": {"metric": "memory"}},
        {"keys": {"values": ["two words"]}},
        {"keys": {"values": ["#a-comment"]}},
        {"keys": {"values": ["same", "same"]}},
        {"keys": {"existingSecret": "no such Name"}},
        {"image": {"repository": "a", "tag": "b c"}},
    ],
)
def test_a_value_that_can_not_be_is_refused(helm: Helm, values: dict[str, Any]) -> None:
    told = helm.refusal({**REQUIRED, **values})
    assert "don't meet the specifications of the schema" in told
    assert ("settings" if "settings" in values else next(iter(values))) in told


def test_a_refused_key_is_not_told(helm: Helm) -> None:
    assert "hunter2" not in helm.refusal({**REQUIRED, "keys": {"values": ["hunter2 hunter2"]}})


def test_the_chart_may_be_a_part_of_another(helm: Helm) -> None:
    helm.render({"global": {"anything": 1}})


# Keys.


@pytest.mark.parametrize("example", EXAMPLES)
def test_only_the_api_gets_the_keys(helm: Helm, example: str | None) -> None:
    rendered = helm.render({"keys": {"existingSecret": "their-secret", "secretKey": "the.entry"}}, example=example)
    assert rendered.all("Secret") == []
    file = rendered.environment()["FACEBENTO_API_KEYS_FILE"]
    # So the service's own message, that the file can't be read, names the Secret and its entry.
    assert file == "/etc/facebento/their-secret/the.entry"
    [mount] = [each for each in rendered.container()["volumeMounts"] if each["name"] == "keys"]
    assert (mount["mountPath"], mount["readOnly"]) == ("/etc/facebento/their-secret", True)
    [volume] = [each for each in rendered.pod()["volumes"] if each["name"] == "keys"]
    # Not optional, and no subset: kubelet names a Secret that is missing.
    assert volume["secret"] == {"secretName": "their-secret", "defaultMode": 0o440}
    assert rendered.pod()["securityContext"]["fsGroup"] == rendered.pod()["securityContext"]["runAsGroup"]
    for component in ("detector", "embedder") if example == "split" else ():
        assert "FACEBENTO_API_KEYS_FILE" not in rendered.environment(component)
        assert "their-secret" not in str(rendered.one("Deployment", component))


def test_the_service_can_read_the_secret_that_the_chart_makes(
    helm: Helm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = 'a"b\\c=$({{.}})'
    hashed = "billing=sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"  # foo
    rendered = helm.render({"keys": {"values": [hashed, key]}})
    secret = rendered.one("Secret")
    assert rendered.environment()["FACEBENTO_API_KEYS_FILE"].split("/")[-2] == secret["metadata"]["name"]
    monkeypatch.chdir(tmp_path)  # where no .env is
    (tmp_path / "keys").write_text(secret["stringData"]["api-keys"], encoding="utf-8")
    monkeypatch.setenv("FACEBENTO_API_KEYS_FILE", str(tmp_path / "keys"))
    keys = settings.load().keys()
    assert len(keys) == 2
    assert keys.find(b"foo") == Key("billing")
    assert keys.find(key.encode()) == Key("key2")


def test_other_keys_are_other_pods(helm: Helm) -> None:
    def template(*keys: str) -> Any:
        return helm.render({"keys": {"values": list(keys)}}).one("Deployment")["spec"]["template"]

    assert template("one") == template("one")
    assert template("one") != template("one", "two")


# Settings.


def test_the_settings_of_the_chart_are_those_of_the_service() -> None:
    schema = yaml.safe_load((CHART / "values.schema.json").read_text(encoding="utf-8"))
    of_the_chart = schema["properties"]["settings"]["properties"]
    of_the_service = {
        f"{settings.PREFIX}{name.upper()}": {key: told[key] for key in ("type", "minimum", "maximum") if key in told}
        for name, told in Settings.model_json_schema()["properties"].items()
    }
    made_by_the_chart = {"FACEBENTO_API_KEYS", "FACEBENTO_API_KEYS_FILE", "FACEBENTO_DEVICE"}
    assert of_the_chart == {name: told for name, told in of_the_service.items() if name not in made_by_the_chart}
    assert DEFAULTS["settings"]["FACEBENTO_DEADLINE_S"] == Settings.model_fields["deadline_s"].default


@pytest.mark.parametrize("example", [*EXAMPLES, "everything"])
def test_every_variable_is_a_setting(helm: Helm, example: str | None) -> None:
    rendered = helm.render(EVERYTHING) if example == "everything" else helm.render(example=example)
    known = {f"{settings.PREFIX}{name.upper()}" for name in Settings.model_fields}
    told = set(re.findall(rf"{settings.PREFIX}\w+", str(rendered)))
    assert {"FACEBENTO_API_KEYS_FILE", "FACEBENTO_DEVICE", "FACEBENTO_DEADLINE_S"} <= told <= known


def test_the_service_reads_the_numbers_as_they_were_given(
    helm: Helm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where no .env is
    given = {
        "FACEBENTO_DEADLINE_S": 12.5,
        "FACEBENTO_MAX_IN_FLIGHT": 7,
        "FACEBENTO_MAX_BODY_BYTES": 20971520,  # which Helm would write as 2.097152e+07
        "FACEBENTO_MAX_PIXELS": 100000000,
        "FACEBENTO_THREADS": 3,
        "FACEBENTO_DETECTOR": "1e3",
    }
    for name, value in helm.render({"settings": given}).environment().items():
        if name not in ("FACEBENTO_API_KEYS_FILE", "NVIDIA_VISIBLE_DEVICES"):
            monkeypatch.setenv(name, value)
    read = settings.load()
    assert {name: getattr(read, name.removeprefix(settings.PREFIX).lower()) for name in given} == given


# What is written about it.


def leaves(values: dict[str, Any], path: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict) and value and name not in ("resources", "settings"):
            yield from leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}"


def test_the_table_of_values_names_them_all() -> None:
    readme = (KUBERNETES / "README.md").read_text(encoding="utf-8")
    table = readme.partition("## Values")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?) \|", table, flags=re.MULTILINE)
    assert sorted(name for row in rows for name in re.findall(r"`([\w.]+)`", row)) == sorted(leaves(DEFAULTS))


def test_the_commands_that_are_written_down_work(helm: Helm) -> None:
    readme = (KUBERNETES / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    commands = re.findall(r"^helm (?:install|upgrade) (facebento .+)", readme, flags=re.MULTILINE)
    assert len(commands) >= 3
    for command in commands:
        done = helm.run("template", *shlex.split(command), cwd=KUBERNETES.parents[1])
        assert done.returncode == 0, done.stderr
        assert Rendered(filter(None, yaml.safe_load_all(done.stdout))).one("Deployment")
