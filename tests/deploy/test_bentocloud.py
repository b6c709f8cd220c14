"""deploy/bentocloud.yaml, sent by `bentoml deploy -f` to a BentoCloud that is none: what would arrive there."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bentoml
import httpx
import pytest
import yaml  # type: ignore[import-untyped]
from _bentoml_sdk.service.config import validate
from bentoml._internal.bento import BentoStore
from bentoml._internal.bento.build_config import BentoBuildConfig
from bentoml._internal.cloud.client import RestApiClient
from bentoml._internal.cloud.deployment import DeploymentAPI
from bentoml._internal.cloud.schemas.modelschemas import DeploymentStrategy
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml.exceptions import BentoMLException
from bentoml_cli.deployment import create_deployment
from pydantic import SecretStr

from api import settings
from api.settings import PREFIX, Settings

PROJECT = Path(__file__).resolve().parents[2]
TEXT = (PROJECT / "deploy" / "bentocloud.yaml").read_text(encoding="utf-8")
FILE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
RUNNERS = ["detector", "embedder"]

Send = Callable[[str], dict[str, Any]]


class Arrived(Exception):  # noqa: N818  it is none
    """The request that would create the deployment, instead of an answer to it."""


@pytest.fixture
def send(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Send]:
    """`bentoml deploy -f` with a text in place of the file: gives what it sends to BentoCloud, as JSON."""
    monkeypatch.chdir(tmp_path)  # not a folder of which BentoML could build a bento
    envs = BentoBuildConfig.from_file(str(PROJECT / "bentofile.yaml")).envs
    manifest = {
        "service": "service:FaceService",
        "bentoml_version": bentoml.__version__,
        "size_bytes": 1,
        "entry_service": "facebento",
        "name": "facebento",
        "envs": [{"name": env.name, "value": env.value, "stage": env.stage} for env in envs],
    }
    known: dict[str, Any] = {
        "uid": "1",
        "created_at": "2026-01-01T00:00:00+00:00",
        "updated_at": None,
        "deleted_at": None,
    }
    known |= {"name": "1", "resource_type": "bento", "labels": [], "description": "", "version": "1"}
    known |= {"image_build_status": "success", "upload_status": "success", "upload_finished_reason": ""}
    known |= {"presigned_upload_url": "", "presigned_download_url": "", "manifest": manifest}

    def bentocloud(request: httpx.Request) -> httpx.Response:
        match request.method, request.url.path:
            case "GET", "/api/v1/bento_repositories/facebento/bentos":  # the newest
                return httpx.Response(200, json={"start": 0, "count": 1, "total": 1, "items": [known]})
            case "POST", "/api/v2/deployments":
                raise Arrived(request.content)
            case _:
                return httpx.Response(404)

    client = RestApiClient("http://bentocloud.invalid", "no token")
    client.session._transport = httpx.MockTransport(bentocloud)
    cloud: Any = SimpleNamespace(client=client, deployment=DeploymentAPI(client))

    def sent(text: str) -> dict[str, Any]:
        with pytest.raises(Arrived) as arrived:
            create_deployment(config_file=io.StringIO(text), wait=False, _cloud_client=cloud)
        body: dict[str, Any] = json.loads(arrived.value.args[0])
        return body

    BentoMLContainer.bento_store.set(BentoStore(tmp_path))  # empty: there is nothing to be sent up
    yield sent
    BentoMLContainer.bento_store.reset()
    client.session.close()


def small() -> dict[str, Any]:
    """Another file, to be spoilt."""
    scaling = {"min_replicas": 1, "max_replicas": 2, "policy": {"scale_up_behavior": "fast"}}
    return {
        "bento": "facebento:latest",
        "envs": [{"name": "ONE", "value": "1"}],
        "services": {"one": {"scaling": scaling}},
    }


def lost(given: Any, sent: Any, path: str = "") -> list[str]:
    """The places of the file that did not arrive, or arrived as something else.

    BentoML drops keys that it does not know, and makes texts of numbers and numbers of texts.
    """
    if isinstance(given, dict) and isinstance(sent, dict):
        return [place for key in given for place in lost(given[key], sent.get(key, lost), f"{path}/{key}")]
    if isinstance(given, list) and isinstance(sent, list) and len(given) == len(sent):
        pairs = enumerate(zip(given, sent, strict=True))
        return [place for index, (one, other) in pairs for place in lost(one, other, f"{path}/{index}")]
    return [] if type(given) is type(sent) and given == sent else [path]


def repeated_keys(node: yaml.Node) -> list[str]:
    """Of two equal keys in one place YAML takes the last, without a word."""
    found = []
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value]
        found = [key for key in keys if keys.count(key) > 1]
        children = [value for _, value in node.value]
    else:
        children = node.value if isinstance(node, yaml.SequenceNode) else []
    return found + [key for child in children for key in repeated_keys(child)]


def variables(service: str) -> dict[str, str]:
    """What a pod of a service finds in its environment; its own variables come before those of all."""
    return {env["name"]: env["value"] for env in (*FILE["envs"], *SERVICES[service].get("envs", []))}


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def configured(service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a service's pods."""
    monkeypatch.chdir(tmp_path)  # without .env
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    for name, value in variables(service).items():
        monkeypatch.setenv(name, value)
    return settings.load()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The configuration of every service in service.py, by name, as the pods of the API have it."""
    program = (
        "import json, service as s; print(json.dumps({n: x.config for n, x in s.FaceService.all_services().items()}))"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    answer = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path_factory.mktemp("pod"),
        env=clean | variables("facebento") | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr.decode()
    found: dict[str, dict[str, Any]] = json.loads(answer.stdout.splitlines()[-1])
    return found


def test_everything_in_the_file_arrives_as_it_stands_there(send: Send) -> None:
    assert lost(FILE, send(TEXT)) == []
    assert repeated_keys(yaml.compose(TEXT)) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("scaling", {}),
        ("access_authorisation", True),
        ("services/one/instance_typ", "cpu.4"),
        ("services/one/secrets", ["keys"]),
        ("services/one/scaling/min_replica", 1),
        ("services/one/scaling/max_replicas", "2"),
        ("services/one/scaling/policy/scale_up_behaviour", "fast"),
        ("envs/0/stage", "runtime"),
        ("envs/0/value", 1),
        ("envs/0/value", True),
    ],
)
def test_what_bentoml_drops_or_alters_would_be_found(path: str, value: object, send: Send) -> None:
    file = small()
    assert lost(file, send(yaml.safe_dump(file))) == []
    *parents, key = path.split("/")
    place: Any = file
    for parent in parents:
        place = place[int(parent)] if isinstance(place, list) else place[parent]
    place[key] = value
    assert lost(file, send(yaml.safe_dump(file))) == [f"/{path}"]


def test_a_key_that_stands_twice_would_be_found() -> None:
    assert repeated_keys(yaml.compose("a: {b: 1}\nc:\n- d: 1\n  d: 2\n")) == ["d", "d"]


def test_more_replicas_than_there_may_be_are_refused(send: Send) -> None:
    file = small()
    file["services"]["one"]["scaling"]["min_replicas"] = 9
    with pytest.raises(BentoMLException, match="min scaling values must be less"):
        send(yaml.safe_dump(file))


def test_the_services_are_those_of_the_bento(built: dict[str, Any]) -> None:
    assert set(SERVICES) == set(built) == {"facebento", *RUNNERS}
    assert FILE["bento"].partition(":")[0] == "facebento"  # bentoml build calls it by the main service


def test_a_bento_asks_for_no_variable_that_only_options_could_give() -> None:
    # `bentoml deploy -f` counts no variable of its file, and refuses to start without those that have no value.
    envs = BentoBuildConfig.from_file(str(PROJECT / "bentofile.yaml")).envs
    assert [env.name for env in envs if not env.value] == []


def test_every_variable_is_a_setting_and_stands_there_once(service: str) -> None:
    own = [env["name"] for env in SERVICES[service].get("envs", [])]
    names = [env["name"] for env in FILE["envs"]] + own
    assert len(names) == len(set(names))
    assert set(names) <= {PREFIX + name.upper() for name in Settings.model_fields}


def test_the_settings_can_be_used(configured: Settings) -> None:
    assert configured


def test_what_api_and_runners_must_agree_on_is_set_for_all_of_them() -> None:
    own = {env["name"] for config in SERVICES.values() for env in config.get("envs", [])}
    assert not own & {f"{PREFIX}DETECTOR", f"{PREFIX}EMBEDDER", f"{PREFIX}DEADLINE_S"}


def test_no_key_stands_in_the_file() -> None:
    secret = {PREFIX + name.upper() for name, field in Settings.model_fields.items() if field.annotation is SecretStr}
    assert secret == {f"{PREFIX}API_KEYS"}
    assert not any(secret & set(variables(name)) for name in SERVICES)
    # Names of secrets, not NAME=VALUE.
    assert FILE["secrets"]
    assert all(name.replace("-", "").isalnum() for name in FILE["secrets"])
    assert "sha256:" not in TEXT.replace("sha256:$HASH", "")


def test_each_service_keeps_a_replica_and_no_more_than_it_may(service: str) -> None:
    scaling = SERVICES[service]["scaling"]
    assert 1 <= scaling["min_replicas"] <= scaling["max_replicas"]  # with 0, the API answers 503
    assert scaling["policy"].keys() == {"scale_up_behavior", "scale_down_behavior"}
    assert set(scaling["policy"].values()) <= {"fast", "stable", "disabled"}  # as BentoCloud's documentation has them


def test_the_strategy_is_one_that_bentocloud_has(service: str) -> None:
    assert DeploymentStrategy(SERVICES[service]["deployment_strategy"])


def test_a_gpu_is_asked_for_where_it_is_paid_for(service: str, configured: Settings) -> None:
    has_gpu = SERVICES[service]["instance_type"].startswith("gpu.")
    assert has_gpu == (configured.device == "cuda")
    assert not (has_gpu and service == "facebento")


def test_the_overrides_are_configuration_that_bentoml_knows(service: str) -> None:
    overrides = SERVICES[service]["config_overrides"]
    assert validate(overrides) == overrides
    misspelt = {"traffic": {"concurency": 1}}
    assert validate(misspelt) != misspelt  # it drops what it does not know


def test_bentocloud_waits_as_long_as_the_service_does(service: str, built: dict[str, dict[str, Any]]) -> None:
    assert SERVICES[service]["config_overrides"]["traffic"]["timeout"] == built[service]["traffic"]["timeout"]


def test_a_replica_is_given_enough_at_a_time_and_not_too_much(service: str, configured: Settings) -> None:
    concurrency = SERVICES[service]["config_overrides"]["traffic"]["concurrency"]
    if service == "facebento":
        assert concurrency < configured.max_in_flight  # or clients would be refused before another replica comes
    else:
        assert concurrency >= getattr(configured, f"{service}_batch_size")  # or no batch would ever be full
