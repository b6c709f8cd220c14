"""The real image, built by BentoML and run as a container runtime runs it. It takes minutes: make test-image."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import httpx
import pytest

from tests.e2e.running import make_server
from tests.image.containers import Container, Image, build

PHOTOGRAPH = Path(__file__).resolve().parents[2] / "docs/images/astronaut.jpg"
KEY = {"FACEBENTO_API_KEYS": "key"}

pytestmark = [
    pytest.mark.image,
    pytest.mark.timeout(1200),
]


@pytest.fixture(scope="session")
def working_copy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Its folder, and a BENTOML_HOME with the starter models."""
    made = make_server(tmp_path_factory.mktemp("image"), {})
    return made.folder, made.home


@pytest.fixture(scope="session")
def image(working_copy: tuple[Path, Path]) -> Image:
    # These tests run only where they are asked for: what they lack is no reason to pass.
    missing = [tool for tool in ("podman", "buildah", "debootstrap", "unshare") if not shutil.which(tool)]
    assert not missing, f"an image is built and run with these, which are not here: {', '.join(missing)}"
    assert os.geteuid() == 0, "an image is built and run by root"
    return build(*working_copy, "first")


@pytest.fixture(scope="session")
def container(image: Image) -> Iterator[Container]:
    with image.run(settings=KEY) as made:
        made.wait_until_ready()
        yield made


def detect(container: Container) -> httpx.Response:
    with PHOTOGRAPH.open("rb") as file:
        headers = {"x-api-key": "key"}
        return httpx.post(f"{container.url}/v1/file/detect", headers=headers, files={"image": file}, timeout=60)


def test_it_finds_the_face_on_a_read_only_root_without_being_root(container: Container) -> None:
    answer = detect(container)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["faces"]) == 1


def test_without_a_gpu_it_runs_on_the_cpu(container: Container) -> None:
    told = httpx.get(f"{container.url}/v1/info/server").json()
    assert (told["device"], told["execution_provider"]) == ("cpu", "CPUExecutionProvider")


def test_its_health_check_tells_ready_from_not(image: Image, container: Container) -> None:
    kind, *command = image.health_check
    assert kind == "CMD"
    port = container.url.rpartition(":")[2]
    with image.run(entrypoint=command, settings={"BENTOML_PORT": port}) as asked:
        assert asked.wait() == 0, asked.output
    with image.run(entrypoint=command) as asked:  # of a port where nobody listens
        assert asked.wait() != 0


def test_sigterm_ends_it_cleanly_once_what_is_in_work_is_answered(image: Image) -> None:
    with image.run(settings=KEY) as container:
        container.wait_until_ready()
        with ThreadPoolExecutor(8) as clients:
            answers = [clients.submit(detect, container) for _ in range(8)]
            wait(answers, return_when=FIRST_COMPLETED)
            status = container.stop()
            assert [answer.result().status_code for answer in answers] == [200] * 8
        assert status == 0, container.output
        assert "Traceback" not in container.output


def test_a_runner_alone_is_one_of_its_arguments_away(image: Image) -> None:
    with image.run("start-http-server", "--service-name", "detector", settings=KEY) as runner:
        runner.wait_until_ready()
        answer = httpx.post(f"{runner.url}/placement", json={})
        assert answer.json()["device"] == "cpu"


@pytest.mark.parametrize(
    ("settings", "tmpfs", "message"),
    [
        (KEY | {"FACEBENTO_DEVICE": "cuda"}, "size=256m", "cuda was asked for, and the NVIDIA driver offers none"),
        ({}, "size=256m", "FACEBENTO_API_KEYS: not set, nor is FACEBENTO_API_KEYS_FILE"),
        (
            {"FACEBENTO_API_KEYS_FILE": "/run/secrets/facebento-keys/keys"},
            "size=256m",
            "FACEBENTO_API_KEYS_FILE names /run/secrets/facebento-keys/keys, which can't be read: No such file",
        ),
        (KEY, "", "facebento can't write to its scratch /tmp: Read-only file system"),
        (KEY, "size=1m", "facebento's scratch /tmp is full"),
    ],
    ids=["no GPU", "no key", "no Secret", "read-only scratch", "full scratch"],
)
def test_what_keeps_it_from_starting_ends_it_with_a_message(
    image: Image, settings: dict[str, str], tmpfs: str, message: str
) -> None:
    with image.run(settings=settings, tmpfs=tmpfs) as container:
        assert container.wait() != 0
        assert message in container.output
        assert "Traceback" not in container.output


def test_its_user_can_write_nowhere_but_in_the_scratch(image: Image) -> None:
    assert image.config["User"] == "1034:1034"
    find = ["find", "/", "-xdev", "-writable", "-not", "-type", "l", "-not", "-path", "/dev/*"]
    with image.files() as root:
        command = ["chroot", "--userspec=1034:1034", str(root), *find]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    # Every Debian has these, and a read-only root closes all but the first.
    assert set(found.stdout.split()) <= {"/tmp", "/var/tmp", "/run/lock"}  # noqa: S108


def test_it_holds_what_serves_and_nothing_that_builds(image: Image) -> None:
    with image.files() as root:
        packages = root / "app" / "packages"
        for name in ("pip", "uv", "pytest", "setuptools", "bin/uv", "onnxruntime/quantization", "numpy/tests"):
            assert not (packages / name).exists(), name
        for name in ("gcc", "cc", "g++", "make", "git"):
            assert not (root / "usr/bin" / name).exists(), name
        assert not list(root.rglob("*.whl"))
        assert not [
            path for path in (root / "root", root / "requirements") if path.exists() and any(path.rglob("*.txt"))
        ]
        has_cuda = (packages / "nvidia").exists()
        for name in (
            "onnxruntime/capi/libonnxruntime_providers_cuda.so",
            "onnx",
            "onnxruntime/transformers/float16.py",
        ):
            assert (packages / name).exists() == has_cuda, name
        assert has_cuda == (os.environ.get("VARIANT", "cpu") == "cuda")
        bento = root / "home/bentoml/bento"
        assert sorted(path.name for path in (bento / "models").iterdir()) == ["centerface", "dlib-resnet-v1"]
        assert not [path for path in bento.rglob("*") if path.name in {".env", ".git", "tests"}]


def test_it_tells_what_it_is(image: Image) -> None:
    labels = image.config["Labels"]
    assert labels["org.opencontainers.image.title"] == "facebento"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert {"org.opencontainers.image.version", "org.opencontainers.image.revision"} <= set(labels)


def test_a_change_of_the_code_leaves_the_packages_and_the_models_as_they_are(
    working_copy: tuple[Path, Path], image: Image
) -> None:
    folder, home = working_copy
    # Nor does it matter whom its builder lets read his files.
    for path in (folder / "service.py", folder / "api", folder / "deploy" / "image" / "entrypoint.sh"):
        path.chmod(0o700)
    with (folder / "pipeline.py").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    changed = build(folder, home, "second")
    same = [a == b for a, b in zip(image.layers, changed.layers, strict=True)]
    assert same.index(False) >= len(same) - 4  # env, apis, bento.yaml, src
    with changed.run(settings=KEY) as container:
        container.wait_until_ready()
