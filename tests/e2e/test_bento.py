"""`bentoml build` and what becomes of the bento: what is in it, what must not be, and that it serves elsewhere."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from models import store
from models.catalog import describe
from tests.e2e.bentos import VERSION, Clone, Ended, answers, no_network
from tests.e2e.running import PROJECT, Server, environment, free_port
from tests.repository import git

pytestmark = pytest.mark.e2e

STARTERS = [describe("centerface"), describe("dlib-resnet-v1")]
PICTURE = PROJECT / "docs" / "images" / "astronaut.jpg"
# What of the project's files belongs into a bento.
PACKED = [
    "memory.py",
    "opening.py",
    "pipeline.py",
    "search.py",
    "service.py",
    "stages.py",
    "threads.py",
    "exposition.py",
    "tracing.py",
    "LICENSE",
    "models/catalog.toml",
    "page/*",
    "swagger/*",
]
PACKED += ["deploy/image/*"]
PACKED += ["requirements/serve.txt", "requirements/serve-cuda.txt"]
PACKED += [f"{package}/*.py" for package in ("api", "faces", "models", "runners")]


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def manifest(bento: Path) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((bento / "bento.yaml").read_text(encoding="utf-8"))
    return read


def stored_folder(model_id: str) -> Path:
    return store.find(model_id).path.parent


def models_of(folder: Path, *ids: str) -> Path:
    """A BENTOML_HOME in that folder with a copy of these models, and of no other."""
    for model_id in ids:
        source = stored_folder(model_id)
        shutil.copytree(source, folder / "models" / model_id / source.name)
        (folder / "models" / model_id / "latest").write_text(source.name, encoding="utf-8")
    return folder


def test_the_exact_models_and_nothing_that_is_the_latest(bento: Path) -> None:
    services = {service["name"]: service for service in manifest(bento)["services"]}
    models = {name: [model["tag"] for model in service["models"]] for name, service in services.items()}
    detector, embedder = (model.tag for model in STARTERS)
    assert models == {"facebento": [], "detector": [detector], "embedder": [embedder]}
    for file in ("bento.yaml", "env/docker/Dockerfile"):
        assert "latest" not in (bento / file).read_text(encoding="utf-8")


def test_the_labels(bento: Path, clone: Clone) -> None:
    assert manifest(bento)["labels"] == {
        "licence": "Apache-2.0",
        "git_commit": clone.commit,
        "detector": "centerface",
        "detector_licence": "MIT",
        "embedder": "dlib-resnet-v1",
        "embedder_licence": "CC0-1.0",
    }


def test_the_models_that_it_serves_where_nobody_names_others(bento: Path) -> None:
    assert manifest(bento)["args"] == {"detector": "centerface", "embedder": "dlib-resnet-v1"}


def test_the_description(bento: Path, clone: Clone) -> None:
    assert (bento / "README.md").read_bytes() == (clone.folder / "README.md").read_bytes()


def test_the_code_as_it_was_committed_and_nothing_else(bento: Path, clone: Clone) -> None:
    committed = git(clone.folder, "ls-files").splitlines()
    expected = [path for path in committed if any(fnmatch(path, pattern) for pattern in PACKED)]
    assert {path.partition("/")[0] for path in expected} >= {
        "api",
        "faces",
        "models",
        "page",
        "runners",
        "service.py",
        "swagger",
    }
    found = files(bento / "src")
    assert b"service: service:FaceService" in found.pop("bentofile.yaml")  # as BentoML has read it
    assert found == {path: (clone.folder / path).read_bytes() for path in expected}


@pytest.mark.parametrize(
    "file", ["src/requirements/serve.txt", "src/requirements/serve-cuda.txt", "env/python/requirements.txt"]
)
def test_the_locked_packages_and_no_address_of_an_index(bento: Path, clone: Clone, file: str) -> None:
    lines = [line for line in (bento / file).read_text(encoding="utf-8").splitlines() if line]
    if file == "env/python/requirements.txt":  # what BentoML itself would install
        assert lines.pop() == "bentoml==1.4.39"  # which it adds, and which stands above with its hashes
        locked = (clone.folder / "requirements" / "serve-cuda.txt").read_text(encoding="utf-8")
        assert lines == locked.replace(" ; ", "; ").replace("'", '"').splitlines()
    packages = [(name, after) for name, after in zip(lines, [*lines[1:], ""], strict=True) if name[0] != " "]
    assert {name.partition("==")[0] for name, _ in packages} >= {"bentoml", "fastapi", "onnxruntime-gpu", "numpy"}
    assert [name for name, after in packages if "==" not in name or "--hash=sha256:" not in after] == []
    assert re.findall(r"://|--(?:extra-)?index|--find-links|--trusted", "\n".join(lines)) == []


def test_no_weights(bento: Path) -> None:
    # They are in the store, once for all bentos; `bentoml export` and an image take them along.
    assert {name: len(data) for name, data in files(bento).items() if len(data) > 500_000} == {}
    assert [name for name in files(bento) if name.endswith((".onnx", ".dat"))] == []


def test_no_key_and_no_place_on_the_builders_machine(bento: Path, clone: Clone) -> None:
    assert (clone.folder / ".env").read_text(encoding="utf-8").count(clone.key) == 1
    for secret in (clone.key, str(clone.folder), str(PROJECT), str(clone.home)):
        assert [name for name, data in files(bento).items() if secret.encode() in data] == []
    assert [name for name in files(bento) if Path(name).name.startswith(".")] == []


def test_two_clones_of_one_commit_give_the_same_bento(bento: Path, bento_of_another_clone: Path) -> None:
    one, other = files(bento), files(bento_of_another_clone)
    for each in (one, other):
        each["bento.yaml"], count = re.subn(rb"(?m)^(version|creation_time): .*\n", b"", each["bento.yaml"])
        assert count == 2
    assert one == other


def test_building_reports_to_nobody(build: Ended) -> None:
    assert build.status == 0
    assert "Successfully built" in build.output
    assert "Tracking" not in build.output


def refuses(clone: Clone, waiver: str, message: str, **variables: str) -> Path:
    """Two builds at once: one is refused, the other is not, with the waiver, and says so. Answers the other's bento."""
    refused = clone.start("build", "--version", "refused", variables=variables)
    allowed = clone.start("build", "--version", "allowed", "--arg", f"allow={waiver}", variables=variables)
    end = refused.end()
    assert end.status != 0
    assert re.search(message, end.report())
    assert end.report().startswith("Error: ")
    assert end.report().count("Error") == 1
    assert "Traceback" not in end.output
    assert not clone.bento("refused").exists()
    end = allowed.end()
    assert end.status == 0, end.output
    bento = clone.bento("allowed")
    assert manifest(bento)["labels"]["allowed"] == waiver
    # Who serves it has allowed nothing.
    assert manifest(bento)["args"].keys() == {"detector", "embedder"}
    return bento


def test_a_model_that_is_missing(clone: Clone, tmp_path: Path) -> None:
    tag = describe("centerface").tag
    message = f"FACEBENTO_DETECTOR: the model {tag} is not in the store. Run: facebento models pull centerface"
    home = models_of(tmp_path, "dlib-resnet-v1")
    flag = r"\. To build a bento without it: --arg allow=missing"
    bento = refuses(clone.with_home(home), "missing", f"{re.escape(message)}{flag}$")
    # It is named, so that whoever serves the bento can bring it.
    assert tag in (bento / "bento.yaml").read_text(encoding="utf-8")


def test_models_that_were_altered_or_may_not_be_passed_on_and_that_the_bento_remembers(
    clone: Clone, store_folder: Path, tmp_path: Path
) -> None:
    """Both in one bento: that each waiver is for its own kind alone, tests/models/test_packing.py sees to."""
    # The clone's home was made before store_folder, and leads to the models of the user's store.
    home = store_folder.parent
    source = clone.home / "models" / STARTERS[0].tag.replace(":", "/") / "model.onnx"
    fields = {"id": "research", "licence": "for research alone", "starter": False, "source": None}
    mine = store.save(STARTERS[0].model_copy(update=fields), source.read_bytes())
    shutil.copytree(clone.home / "models" / "dlib-resnet-v1", store_folder / "dlib-resnet-v1")
    tag = STARTERS[1].tag
    graph = home / "models" / tag.replace(":", "/") / "model.onnx"
    as_published = graph.read_bytes()
    data = bytearray(as_published)
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    message = (
        rf"no bento is built:\n{mine.tag} has the licence 'for research alone'.*\n"
        rf"{tag} is damaged: .* models pull dlib-resnet-v1\n.*: --arg allow=altered,unlicensed$"
    )
    bento = refuses(clone.with_home(home), "altered,unlicensed", message, FACEBENTO_DETECTOR="research")
    assert manifest(bento)["args"]["detector"] == "research"
    assert manifest(bento)["labels"]["detector_licence"] == "for research alone"
    # FACEBENTO_DETECTOR is not set any more. A bento names its models, and the store has them: this one is repaired.
    graph.write_bytes(as_published)
    (tmp_path / "served").mkdir()
    server = Server(f"http://127.0.0.1:{free_port()}", tmp_path / "served", home, {"FACEBENTO_API_KEYS": "k"})
    try:
        server.run("bentoml", "serve", "facebento:allowed", "--port", server.url.rpartition(":")[2])
        server.wait_ready()
        assert server.read("/v1/info/model") == {"models": ["research", "dlib-resnet-v1"]}
        assert server.stop() == 0
    finally:
        server.kill()


@dataclass
class Elsewhere:
    """A bento that was exported, imported where there were no models, and served there."""

    exported: Path
    home: Path
    answers: dict[str, Any]
    network: str  # why it reached nothing
    status: int  # of the server, stopped by SIGTERM
    output: str


@pytest.fixture(scope="module")
def elsewhere(bento: Path, clone: Clone, tmp_path_factory: pytest.TempPathFactory) -> Elsewhere:
    tag = f"facebento:{bento.name}"
    folder = tmp_path_factory.mktemp("elsewhere")
    exported, home, working = (folder / name for name in ("facebento.tar", "bentoml", "working"))
    working.mkdir()
    end = clone.run("export", tag, str(exported))  # .tar: BentoML's own .bento takes 20 s to compress
    assert end.status == 0, end.output
    end = clone.with_home(home).run("import", str(exported), at=working)
    assert end.status == 0, end.output
    program = [sys.executable, "-m", "tests.e2e.offline", tag, str(working), str(home), str(PICTURE)]
    served = subprocess.run(
        [*no_network(), *program],
        cwd=PROJECT,
        env=environment(PROJECT, home),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert served.returncode == 0, served.stderr
    return Elsewhere(exported, home, **json.loads(served.stdout))


def test_the_file_brings_the_models(elsewhere: Elsewhere) -> None:
    with tarfile.open(elsewhere.exported) as archive:
        for model in STARTERS:
            member = archive.extractfile(f"./models/{model.id}/{model.version}/model.onnx")
            assert member is not None
            assert hashlib.sha256(member.read()).hexdigest() == store.find(model.id).prepared_sha256
            imported = elsewhere.home / "models" / model.id / model.version
            assert files(imported) == files(stored_folder(model.id))


def test_it_answers_as_the_source_tree_does(elsewhere: Elsewhere, server: Server) -> None:
    expected = answers(server, PICTURE.read_bytes())
    for path in ("/v1/embeddings", "/v1/feature", "/v1/info/server"):
        expected[path]["version"] = VERSION
    expected["/openapi.json"]["info"]["version"] = VERSION
    assert elsewhere.answers == expected
    [face] = elsewhere.answers["/v1/detect"]["faces"]
    assert face["processed"] is True
    assert len(elsewhere.answers["/v1/embeddings"]["embeddings"]) == 128


def test_it_needed_no_network(elsewhere: Elsewhere) -> None:
    if not no_network():
        pytest.skip("this system permits no network namespace: the bento was served with the network at hand")
    assert "Network is unreachable" in elsewhere.network


def test_it_stops_cleanly_and_reports_to_nobody(elsewhere: Elsewhere) -> None:
    assert elsewhere.status == 0
    assert "Traceback" not in elsewhere.output
    assert "Tracking" not in elsewhere.output
