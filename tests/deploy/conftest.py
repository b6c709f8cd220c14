"""The Helm chart, rendered as `helm install` would render it."""

import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
CHART = KUBERNETES / "facebento"
HELM = Path(sys.executable).with_name("helm")
# What nobody can install the chart without.
REQUIRED = {
    "image": {"repository": "registry.example.com/facebento", "tag": "0.1.0-0123456789ab"},
    "keys": {"existingSecret": "some-secret"},
}

Object = dict[str, Any]


class Rendered(list[Object]):
    """The objects of a release called `prod`."""

    def all(self, kind: str) -> list[Object]:
        return [each for each in self if each["kind"] == kind]

    def one(self, kind: str, component: str = "api") -> Object:
        """The object of this kind that belongs to the component."""
        labelled = {"app.kubernetes.io/component": component}.items()
        [found] = [each for each in self.all(kind) if labelled <= each["metadata"]["labels"].items()]
        return found

    def pod(self, component: str = "api") -> Object:
        spec: Object = self.one("Deployment", component)["spec"]["template"]["spec"]
        return spec

    def container(self, component: str = "api") -> Object:
        [found] = self.pod(component)["containers"]
        container: Object = found
        return container

    def environment(self, component: str = "api") -> dict[str, str]:
        return {each["name"]: each["value"] for each in self.container(component)["env"]}


def example_options(example: str | None) -> list[str]:
    return ["-f", str(KUBERNETES / f"values-{example}.yaml")] if example else []


class Helm:
    def run(
        self, *arguments: str | Path, values: Mapping[str, Any] | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """values: what stands in a file behind the options -f, if anything."""
        command = [HELM, *arguments, *([] if values is None else ["-f", "-"])]
        return subprocess.run(command, input=json.dumps(values), cwd=cwd, capture_output=True, text=True, check=False)

    def __init__(self) -> None:
        self._rendered: dict[str, str] = {}  # values -> objects, both as JSON

    def _template(self, values: Mapping[str, Any], example: str | None) -> subprocess.CompletedProcess[str]:
        options = ["--namespace", "faces", *example_options(example)]
        return self.run("template", "prod", CHART, *options, values=values)

    def render(self, values: Mapping[str, Any] | None = None, *, example: str | None = None) -> Rendered:
        """values: beside, or instead of, what is required. example: cpu, gpu or split; it comes before the values."""
        values = {**REQUIRED, **(values or {})}
        what = json.dumps([values, example])
        if what not in self._rendered:
            done = self._template(values, example)
            assert done.returncode == 0, done.stderr
            self._rendered[what] = json.dumps(list(yaml.load_all(done.stdout, yaml.CSafeLoader)))
        return Rendered(filter(None, json.loads(self._rendered[what])))

    def refusal(self, values: Mapping[str, Any], *, example: str | None = None) -> str:
        """What is said of values that can't be installed; they must say themselves what is required."""
        done = self._template(values, example)
        assert done.returncode != 0, done.stdout
        assert done.stdout == ""
        return done.stderr


@pytest.fixture(scope="session")
def helm() -> Helm:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("helm comes with the package helm-binary, which there is for Linux on x86-64 only")
    return Helm()
