"""`facebento doctor`: a real run, and each of its checks on what may be amiss."""

import json
import os
import resource
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import psutil
import pynvml
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from click.testing import CliRunner, Result

from api.settings import Settings
from cli import home
from cli.doctor import configuration, device, installation, machine, stored, trial
from cli.doctor.finding import Finding
from cli.main import main
from models import store
from models.catalog import describe
from runners import onnx
from runners.errors import DeviceUnavailableError
from runners.onnx import Placement

KEY = "a-key-that-nobody-is-to-see"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working copy with nothing in it but the picture, and no settings in the environment."""
    for name in [name for name in os.environ if name.startswith("FACEBENTO_")]:
        monkeypatch.delenv(name)
    picture = tmp_path / home.PICTURE
    picture.parent.mkdir(parents=True)
    shutil.copy(home.HOME / home.PICTURE, picture)
    monkeypatch.setattr(home, "HOME", tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *arguments])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def states(found: Iterator[Finding]) -> dict[str, str]:
    """By check. What is not ok says what to do."""
    told = list(found)
    assert all(bool(each.remedy) == (each.state != "ok") for each in told)
    return {each.check: each.state for each in told}


def test_a_real_run(folder: Path) -> None:
    (folder / ".env").write_text(f"FACEBENTO_API_KEYS=mine={KEY}\nFACEBENTO_DEVICE=cpu\n")
    (folder / ".env").chmod(0o600)
    result = run("--json", "--port", str(free_port()))
    told = json.loads(result.stdout)
    assert result.exit_code == 0, result.output
    assert told["problems"] == 0
    found = {each["check"]: each for each in told["findings"]}
    assert found["keys"]["told"] == "mine"
    assert KEY not in result.output
    assert found["trial, detector"]["told"].startswith("centerface took ")
    assert found["trial, embedder"]["told"].endswith("ms on cpu (CPUExecutionProvider)")
    assert {each["state"] for name, each in found.items() if name.startswith(("trial", "detector", "device"))} == {"ok"}


def test_settings_that_can_not_be_used_are_told_and_the_rest_left_out(folder: Path) -> None:
    (folder / ".env").write_text(f"FACEBENTO_DEVICE=gpu\nFACEBENTO_THREADS=no\nFACEBENTO_API_KEYS={KEY} x\n")
    result = run()
    assert result.exit_code == 1
    assert "problem  settings: FACEBENTO_DEVICE: must be auto, cpu" in result.stdout
    assert "problem  settings: FACEBENTO_THREADS: " in result.stdout
    assert KEY not in result.output
    assert "trial" not in result.stdout


def test_a_check_that_fails_itself_leaves_the_others(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder

    def fail(*_: object) -> None:
        raise ImportError("libGL.so.1")

    monkeypatch.setattr(machine, "check", fail)
    monkeypatch.setattr(trial, "check", lambda *_: iter(()))
    result = run()
    assert result.exit_code == 1
    assert "problem  machine: could not be looked at: ImportError: libGL.so.1" in result.stdout
    assert "ok       detector: " in result.stdout


def test_models_that_are_not_there_are_told_and_nothing_is_tried(folder: Path, store_folder: Path) -> None:
    assert folder
    assert store_folder.exists()
    result = run("--json")
    assert result.exit_code == 1
    found = {each["check"]: each for each in json.loads(result.stdout)["findings"]}
    assert found["detector"]["remedy"] == "facebento models pull centerface"
    assert found["embedder"]["state"] == "problem"
    assert "trial" not in found


class Version(NamedTuple):
    major: int
    minor: int


def test_an_old_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "version_info", Version(3, 10))
    assert states(installation.check(tmp_path))["python"] == "problem"


@pytest.mark.parametrize(
    ("versions", "state"),
    [
        ({"onnxruntime-gpu": "1.31.1"}, "ok"),
        ({"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.1"}, "problem"),
        ({}, "problem"),
    ],
)
def test_one_onnxruntime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, versions: dict[str, str], state: str) -> None:
    there = metadata.version

    def version(name: str) -> str:
        if not name.startswith("onnxruntime"):
            return there(name)
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(metadata, "version", version)
    assert states(installation.check(tmp_path))["onnxruntime"] == state


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ("click=={click}", "ok"),
        ("click==1.0 \\", "warning"),
        ("no-such-package==1.0", "problem"),
        ("no-such-package==1.0 ; sys_platform == 'win32'", "ok"),
    ],
)
def test_packages_against_the_lock(tmp_path: Path, line: str, state: str) -> None:
    (tmp_path / "requirements").mkdir()
    lock = f"{line.format(click=metadata.version('click'))}\n    --hash=sha256:00\n"
    (tmp_path / "requirements" / "serve.txt").write_text(lock)
    assert states(installation.check(tmp_path))["packages of serve.txt"] == state


def test_packages_that_are_at_odds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one = SimpleNamespace(name="one", requires=["click<1", "no-such-package", "nothing ; extra == 'more'"])
    monkeypatch.setattr(metadata, "distributions", lambda: [one])
    [found] = [each for each in installation.check(tmp_path) if each.check == "packages together"]
    assert found.state == "warning"
    assert found.told.startswith("one needs click<1, and ")
    assert found.told.endswith("one needs no-such-package, which is missing")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {"keys": "warning", ".env is private": "ok"}),
        (f"FACEBENTO_API_KEYS={KEY}", {"keys": "ok", ".env is private": "ok"}),
        (f"FACEBENTO_API_KEYS={KEY} expires=2020-01-01", {"keys": "problem", ".env is private": "ok"}),
        (f"FACEBENTO_API_KEYS={KEY} expires=2020-01-01,b", {"keys": "warning", ".env is private": "ok"}),
        (f"FACEBENTO_API_KEY={KEY}", {"settings": "warning", "keys": "warning", ".env is private": "ok"}),
    ],
)
def test_keys_and_names_of_settings(folder: Path, text: str, expected: dict[str, str]) -> None:
    (folder / ".env").write_text(text)
    (folder / ".env").chmod(0o600)
    configured, _ = configuration.read(folder)
    assert configured is not None
    found = list(configuration.check(configured, folder))
    assert states(iter(found)) == expected
    assert not any(KEY in each.told + each.remedy for each in found)


def test_keys_that_others_may_read(folder: Path) -> None:
    (folder / "keys").write_text(KEY)
    (folder / ".env").write_text("FACEBENTO_API_KEYS_FILE=keys")
    (folder / ".env").chmod(0o640)
    (folder / "keys").chmod(0o600)
    configured, _ = configuration.read(folder)
    assert configured is not None
    assert states(configuration.check(configured, folder)) == {
        "keys": "ok",
        ".env is private": "warning",
        "keys is private": "ok",
    }


GIB = 2**30


@pytest.mark.parametrize(("total", "state"), [(8 * GIB, "ok"), (2 * GIB, "warning"), (GIB // 2, "problem")])
def test_memory(monkeypatch: pytest.MonkeyPatch, total: int, state: str) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=total))
    monkeypatch.setattr(machine, "cgroup_limit_bytes", lambda: None)
    assert states(machine.check(Settings(workers=1), free_port()))["memory"] == state
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=64 * GIB))
    monkeypatch.setattr(machine, "cgroup_limit_bytes", lambda: total)
    assert states(machine.check(Settings(workers=1), free_port()))["memory"] == state


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        ("0::/a/b\n", {"a/memory.max": "2000", "a/b/memory.max": "max"}, 2000),
        ("0::/a/b\n", {"a/b/memory.max": "3000", "memory.max": "4000"}, 3000),
        ("0::/elsewhere\n", {"memory.max": "4000"}, 4000),
        ("4:memory:/a\n3:cpu:/b\n", {"memory/a/memory.limit_in_bytes": "500"}, 500),
        ("0::/\n", {}, None),
    ],
)
def test_the_limit_of_a_container(tmp_path: Path, own: str, files: dict[str, str], limit: int | None) -> None:
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        file = tmp_path / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    assert machine.cgroup_limit_bytes(tmp_path / "cgroup", tmp_path / "own") == limit
    assert machine.cgroup_limit_bytes(tmp_path, tmp_path / "nothing") is None


def test_threads_beyond_the_cores() -> None:
    assert states(machine.check(Settings(threads=256), free_port()))["cores"] == "warning"


@pytest.mark.parametrize(("free", "state"), [(2 * GIB, "ok"), (GIB // 2, "warning"), (GIB // 100, "problem")])
def test_room_on_the_disk(monkeypatch: pytest.MonkeyPatch, free: int, state: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    found = states(machine.check(Settings(), free_port()))
    assert found["BENTOML_HOME"] == found["scratch"] == state


def test_folders_that_can_not_be_written_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    with BentoMLContainer.bentoml_home.patch(str(gone)):
        assert states(machine.check(Settings(), free_port()))["BENTOML_HOME"] == "problem"

    def nowhere() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    assert states(machine.check(Settings(), free_port()))["scratch"] == "problem"


def test_no_files_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> int:
        raise OSError("not permitted")

    monkeypatch.setattr(os, "memfd_create", refuse)
    assert states(machine.check(Settings(), free_port()))["shared memory"] == "warning"


@pytest.mark.parametrize(("hard", "state"), [(512, "warning"), (4096, "ok"), (resource.RLIM_INFINITY, "ok")])
def test_open_files(monkeypatch: pytest.MonkeyPatch, hard: int, state: str) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (512, hard))
    assert states(machine.check(Settings(), free_port()))["open files"] == state


def test_the_port(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert states(machine.check(Settings(), port))[f"port {port}"] == "warning"
        monkeypatch.setattr(machine, "_is_facebento", lambda _: True)
        assert states(machine.check(Settings(), port))[f"port {port}"] == "ok"
    assert states(machine.check(Settings(), port))[f"port {port}"] == "ok"


class Gpu:
    """In place of NVML and CUDA."""

    driver = "615.10"
    devices = 1
    free = 70 * GIB
    libraries = True
    providers: tuple[str, ...] = (onnx.CUDA, onnx.CPU)
    processes: tuple[int, ...] = ()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, answer in {
            "nvmlInit": None,
            "nvmlShutdown": None,
            "nvmlSystemGetDriverVersion": self.driver,
            "nvmlDeviceGetHandleByIndex": "handle",
            "nvmlDeviceGetName": "NVIDIA H100 80GB HBM3",
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(free=self.free, total=80 * GIB),
            "nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=pid) for pid in self.processes],
        }.items():
            monkeypatch.setattr(pynvml, name, lambda *_, answer=answer: answer)
        monkeypatch.setattr(onnx, "cuda_devices", lambda: self.devices)
        monkeypatch.setattr(onnx, "cuda_libraries", lambda: self.libraries)
        monkeypatch.setattr(onnx, "providers", lambda: list(self.providers))


@pytest.mark.parametrize(
    ("changed", "check", "auto", "cuda"),
    [
        ({}, "cuda:0", "ok", "ok"),
        ({"driver": "570.86"}, "NVIDIA driver", "warning", "problem"),
        ({"devices": 0}, "device", "warning", "problem"),
        ({"libraries": False}, "CUDA", "warning", "problem"),
        ({"providers": (onnx.CPU,), "libraries": False}, "CUDA", "warning", "problem"),
        ({"free": GIB, "processes": (4711,)}, "cuda:0", "warning", "warning"),
    ],
)
def test_the_gpu(monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], check: str, auto: str, cuda: str) -> None:
    gpu = Gpu()
    for name, value in changed.items():
        setattr(gpu, name, value)
    gpu.install(monkeypatch)
    for named, state in (("auto", auto), ("cuda", cuda)):
        found = states(device.check(Settings(device=named)))
        assert found[check] == state
        assert {each for name, each in found.items() if name != check} <= {"ok"}


def test_who_else_uses_the_gpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu()
    gpu.processes = (4711, 4712)
    gpu.install(monkeypatch)
    told = [each.told for each in device.check(Settings(device="cuda"))][-1]
    assert told == "NVIDIA H100 80GB HBM3, 70.0 of 80.0 GiB free, used by processes 4711, 4712"


@pytest.mark.parametrize(
    ("named", "devices", "state"), [("auto", 0, "ok"), ("cpu", 0, "ok"), ("cuda", 0, "problem"), ("auto", 1, "warning")]
)
def test_without_a_driver(monkeypatch: pytest.MonkeyPatch, named: str, devices: int, state: str) -> None:
    def fail() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    monkeypatch.setattr(onnx, "cuda_devices", lambda: devices)
    assert states(device.check(Settings(device=named))) == {"device": state}


def test_a_damaged_model(store_folder: Path) -> None:
    for name in ("centerface", "dlib-resnet-v1"):
        store.save(describe(name), b"graph")
    assert states(stored.check(Settings())) == {"detector": "ok", "embedder": "ok"}
    [graph] = store_folder.glob("centerface/*/model.onnx")
    graph.write_bytes(b"other")
    [record] = store_folder.glob("dlib-resnet-v1/*/description.json")
    record.write_text("{")
    assert states(stored.check(Settings())) == {
        "detector": "problem",
        "embedder": "problem",
        "other models": "warning",
    }


def test_a_model_that_another_release_prepared(store_folder: Path) -> None:
    assert store_folder.exists()
    store.save(describe("centerface").model_copy(update={"summary": "as it was"}), b"graph")
    [found] = [each for each in stored.check(Settings()) if each.check == "detector"]
    assert "(stored: centerface:" in found.told
    assert found.remedy == "facebento models pull centerface"


@pytest.mark.parametrize(
    "settings", [{"embedder": "centerface"}, {"detector": "scrfd-10g"}, {"detector": "nobody-knows-it"}]
)
def test_a_model_that_can_not_be_served(settings: dict[str, str]) -> None:
    [role] = settings
    assert states(stored.check(Settings(**settings)))[role] == "problem"  # type: ignore[arg-type]


def opens(placement: Placement | Exception, face: object) -> Callable[..., object]:
    """In place of served_pipeline."""

    async def embed_largest(_: object) -> object:
        return face and (face, None)

    def served(_: Settings, placed: Callable[[object, Placement], None]) -> object:
        if isinstance(placement, Exception):
            raise placement
        for name in ("centerface", "dlib-resnet-v1"):
            placed(describe(name), placement)
        return SimpleNamespace(embed_largest=embed_largest)

    return served


IN_PLACE = SimpleNamespace(left=180, top=60, right=270, bottom=170)
ASIDE = SimpleNamespace(left=0, top=60, right=270, bottom=170)
ON_CPU = Placement("cpu", onnx.CPU)


@pytest.mark.parametrize(
    ("placement", "face", "gpus", "expected"),
    [
        (ON_CPU, IN_PLACE, 0, ("ok", "ok", "ok")),
        (ON_CPU, ASIDE, 0, ("ok", "ok", "problem")),
        (ON_CPU, None, 0, ("ok", "ok", "problem")),
        (ON_CPU, IN_PLACE, 1, ("warning", "warning", "ok")),
        (Placement("cuda:0", onnx.CUDA), IN_PLACE, 1, ("ok", "ok", "ok")),
        (DeviceUnavailableError("no"), None, 1, (None, None, "problem")),
    ],
)
def test_the_trial(
    monkeypatch: pytest.MonkeyPatch, placement: Any, face: object, gpus: int, expected: tuple[str | None, ...]
) -> None:
    monkeypatch.setattr(trial, "served_pipeline", opens(placement, face))
    monkeypatch.setattr(onnx, "cuda_devices", lambda: gpus)
    found = states(trial.check(Settings(), home.HOME))
    assert tuple(found.get(name) for name in ("trial, detector", "trial, embedder", "trial")) == expected


def test_a_picture_that_is_not_there(tmp_path: Path) -> None:
    assert states(trial.check(Settings(), tmp_path)) == {"trial": "problem"}
