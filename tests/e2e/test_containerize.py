"""`bentoml containerize`, with a builder that builds nothing but keeps what it was given."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from models.catalog import describe
from tests.e2e.bentos import Clone, Ended

pytestmark = pytest.mark.e2e

# The last argument is the build context, a folder that is gone afterwards.
PODMAN = r"""#!/bin/sh
kept=$(dirname "$0")
printf '%s\n' "$@" > "$kept/arguments"
for context; do :; done
(cd "$context" && find . -type f | cut -c 3-) > "$kept/files"
cp "$context/env/docker/Dockerfile" "$kept/Dockerfile"
echo "what the builder says"
exit "$(cat "$kept/status")"
"""


@dataclass
class Containerized:
    end: Ended
    arguments: list[str]
    files: set[str]  # of the build context
    dockerfile: list[str]  # its instructions, each in one line


def containerize(clone: Clone, bento: Path, folder: Path, *options: str, status: int = 0) -> Containerized:
    """From that folder, which has nothing to do with the project."""
    programs = folder / "programs"
    programs.mkdir()
    (programs / "podman").write_text(PODMAN, encoding="utf-8")
    (programs / "podman").chmod(0o755)
    (programs / "status").write_text(str(status), encoding="utf-8")
    variables = {"PATH": f"{programs}:{os.environ['PATH']}", "BENTOML_DO_NOT_TRACK": "True"}
    command = ["containerize", f"facebento:{bento.name}", "--backend", "podman", *options]
    end = clone.run(*command, at=folder, variables=variables)
    assert (programs / "Dockerfile").exists(), end.output
    kept = {name: (programs / name).read_text(encoding="utf-8") for name in ("arguments", "files", "Dockerfile")}
    text = re.sub(r"(?m)^#.*\n", "", kept["Dockerfile"])
    instructions = [line for line in re.sub(r"\\\n\s*", "", text).splitlines() if line]
    return Containerized(end, kept["arguments"].splitlines(), set(kept["files"].splitlines()), instructions)


@pytest.fixture(scope="module")
def done(bento: Path, clone: Clone, tmp_path_factory: pytest.TempPathFactory) -> Containerized:
    options = ["--image-tag", "mine:1", "--opt", "build-arg=VARIANT=cpu", "--opt", "build-arg=VERSION=1"]
    return containerize(clone, bento, tmp_path_factory.mktemp("anywhere"), *options)


def instructions(done: Containerized, name: str) -> list[str]:
    return [line.removeprefix(f"{name} ") for line in done.dockerfile if line.startswith(f"{name} ")]


def test_it_works_from_any_folder(done: Containerized) -> None:
    assert done.end.status == 0, done.end.output
    assert 'Successfully built Bento container for "facebento:first"' in done.end.output


def test_the_builder_gets_the_options(done: Containerized) -> None:
    command, *arguments, context = done.arguments
    assert command == "build"
    given = sorted(zip(arguments[::2], arguments[1::2], strict=True))
    assert given == [
        ("--build-arg", "VARIANT=cpu"),
        ("--build-arg", "VERSION=1"),
        ("--file", f"{context}/env/docker/Dockerfile"),
        ("--tag", "mine:1"),
    ]


def test_the_context_is_the_bento_with_its_models(done: Containerized, bento: Path) -> None:
    of_bento = {path.relative_to(bento).as_posix() for path in bento.rglob("*") if path.is_file()}
    of_models = {path for path in done.files if path.startswith("models/")}
    assert done.files - of_models == of_bento
    folders = {f"models/{model.id}/{model.version}" for model in (describe("centerface"), describe("dlib-resnet-v1"))}
    assert {path.rpartition("/")[0] for path in of_models if path.endswith("/model.onnx")} == folders


def test_the_dockerfile_is_the_projects(done: Containerized) -> None:
    assert "{{" not in "".join(done.dockerfile)
    assert "{%" not in "".join(done.dockerfile)
    assert "VARIANT=cuda" in instructions(done, "ARG")
    *build_stages, last = instructions(done, "FROM")
    # Whatever builds is in stages with a name; the image is what comes after them.
    assert all(" AS " in stage for stage in build_stages)
    assert " AS " not in last
    image = done.dockerfile[done.dockerfile.index(f"FROM {last}") :]
    assert [line for line in image if line.startswith("RUN ") and "pip" in line] == []
    assert [line for line in image if line.startswith(("USER ", "ENTRYPOINT "))] == [
        "USER 1034:1034",
        'ENTRYPOINT ["sh", "/home/bentoml/bento/src/deploy/image/entrypoint.sh"]',
    ]
    assert "BENTOML_DO_NOT_TRACK=True" in instructions(done, "ENV")
    [health] = instructions(done, "HEALTHCHECK")
    assert "/readyz" in health


def test_all_that_is_copied_is_there_and_nothing_is_copied_wholesale(done: Containerized) -> None:
    [*_, last] = instructions(done, "FROM")
    image = done.dockerfile[done.dockerfile.index(f"FROM {last}") :]
    copied = [line.split()[1:] for line in image if line.startswith("COPY ")]
    assert all(words[0].startswith("--from=") for words in copied)
    sources = [
        source.removeprefix("/bento/") for words in copied if words[0] == "--from=bento" for source in words[1:-1]
    ]
    assert sources
    for source in sources:
        assert source.strip("./")
        assert any(path == source or path.startswith(f"{source.rstrip('/')}/") for path in done.files), source
    # Nothing of the bento is left behind but the way to the image, and what BentoML would make it of.
    left = {path for path in done.files if not any(path.startswith(source) for source in sources)}
    assert left == set()


def test_a_builder_that_fails_is_a_failure(bento: Path, clone: Clone, tmp_path: Path) -> None:
    failed = containerize(clone, bento, tmp_path, status=3)
    assert failed.end.status != 0
    assert "exit status 3" in failed.end.output
    assert "Successfully" not in failed.end.output
