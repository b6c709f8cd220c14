"""The distribution: what its wheel holds and needs, and that it stands on its own."""

import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import api
import facebento_client

FOLDER = Path(__file__).resolve().parents[1]
# Run where neither the service's own modules are found, nor what only it needs, nor what is an extra of the client.
ALONE = """
import sys
from importlib.machinery import PathFinder

BLOCKED = {
    "api", "bentoml", "cv2", "faces", "fastapi", "models", "numpy", "onnxruntime", "PIL", "pydantic", "runners",
    "service", "starlette",
}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Blocker())
sys.path.insert(0, sys.argv[1])

import httpx
import facebento_client
from facebento_client import Client, Feature

assert facebento_client.__file__.startswith(sys.argv[1])
answer = {"score": 0.75, "face_detects": [{"processed": False}] * 2}
http = httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200, json=answer)))
result = Client("http://service", api_key="a-key", http=http).score(b"an image", b"another")
assert result.score == 0.75
uses = {"images": lambda: result.draw(b"", b""), "gallery": lambda: __import__("facebento_client.gallery")}
for need, use in uses.items():
    try:
        use()
    except ImportError as error:
        assert f"facebento-client[{need}]" in str(error), error
    else:
        raise AssertionError(need)
print("alone")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made from a copy, so that nothing is left in the folder; by setuptools as pip asks it to."""
    folder = tmp_path_factory.mktemp("client")
    copy = folder / "source"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "tests"))
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [built] = folder.glob("*.whl")
    return built


def test_the_version_is_the_services(wheel: Path) -> None:
    assert facebento_client.__version__ == api.__version__
    assert wheel.name == f"facebento_client-{api.__version__}-py3-none-any.whl"


def test_the_wheel_holds_the_package_its_types_and_its_licence(wheel: Path) -> None:
    source = FOLDER / "src"
    files = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.suffix in (".py", ".typed")}
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
        [metadata] = [name for name in names if name.endswith("/METADATA")]
        told = Parser().parsestr(opened.read(metadata).decode())
        assert any(name.endswith("/LICENSE") for name in names)
    assert {name for name in names if ".dist-info/" not in name} == files
    needed = [each for each in told.get_all("Requires-Dist", []) if "extra ==" not in each]
    assert [each.partition("<")[0].partition(">")[0] for each in needed] == ["httpx"]


def test_the_licence_is_the_services() -> None:
    assert (FOLDER / "LICENSE").read_bytes() == (FOLDER.parents[1] / "LICENSE").read_bytes()


def test_it_stands_on_its_own(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(tmp_path)
    command = [sys.executable, "-I", "-c", ALONE, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "alone\n", done.stderr
