"""What may import what, read from the import statements."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("api", "bench", "cli", "evaluation", "faces", "models", "runners")
SOURCES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.py"), *(f for p in PACKAGES for f in (ROOT / p).rglob("*.py"))]
)
WEB = {"aiohttp", "bentoml", "fastapi", "fastapi_offline", "httpx", "requests", "starlette", "uvicorn"}


def imports(source: str) -> set[str]:
    """The modules that a file imports, by their full names, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / source).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}: imports name their package"
            assert node.module is not None
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def packages(source: str) -> set[str]:
    return {name.partition(".")[0] for name in imports(source)}


def inside(package: str) -> list[str]:
    found = [source for source in SOURCES if source.startswith(f"{package}/")]
    assert found
    return found


@pytest.mark.parametrize("source", SOURCES)
def test_nothing_imports_the_service(source: str) -> None:
    assert "service" not in packages(source)


@pytest.mark.parametrize("source", inside("faces"))
def test_faces_knows_pixels_and_vectors_only(source: str) -> None:
    assert packages(source) <= {"faces", "numpy", "cv2", "PIL", *sys.stdlib_module_names}
    assert not packages(source) & {"asyncio", "http", "socket", "urllib", "os", "pathlib"}


@pytest.mark.parametrize("source", inside("models"))
def test_models_knows_no_web_framework(source: str) -> None:
    # BentoML's model store is where they lie; and one file fetches those that no package holds.
    client = {"httpx"} if source == "models/address.py" else set()
    assert not packages(source) & (WEB - {"bentoml"} - client)
    assert not packages(source) & {"api", "cli", "pipeline", "runners"}


@pytest.mark.parametrize("source", inside("runners"))
def test_runners_know_nothing_of_the_api(source: str) -> None:
    assert not packages(source) & {"api", "cli", "pipeline", "fastapi", "starlette"}


@pytest.mark.parametrize("source", inside("evaluation"))
def test_an_evaluation_is_handed_its_pipeline(source: str) -> None:
    assert not packages(source) & (WEB | {"api", "cli", "pipeline", "runners"})


OUTSIDE = ("bench/", "cli/", "evaluation/")


@pytest.mark.parametrize("source", [source for source in SOURCES if not source.startswith(OUTSIDE)])
def test_what_a_bento_holds_knows_no_evaluation(source: str) -> None:
    assert not packages(source) & {"evaluation", "matplotlib"}


@pytest.mark.parametrize("source", inside("api"))
def test_the_api_does_not_know_the_way_of_an_image(source: str) -> None:
    # The endpoints send images on their way; nothing else of the API knows it.
    way = set() if source == "api/endpoints.py" else {"pipeline"}
    assert not packages(source) & ({"cli", "onnxruntime", "cv2", "PIL"} | way)


def test_onnxruntime_is_imported_in_four_places() -> None:
    # Its converter to 16-bit floats is one, and what the service is held against another.
    importers = ["bench/speed/work.py", "models/check.py", "models/half.py", "runners/onnx.py"]
    assert [source for source in SOURCES if "onnxruntime" in packages(source)] == importers


def test_the_pipeline_has_no_numpy_and_no_http() -> None:
    assert not packages("pipeline.py") & (WEB | {"api", "http", "numpy", "urllib", "cv2", "PIL"})


ENVIRONMENT = {"environ", "environb", "getenv", "getenvb"}


def environment_reads(source: str) -> Iterator[int]:
    """The lines that read the environment. Setting a variable is none, and handing all of them to a child neither."""
    tree = ast.parse((ROOT / source).read_text(encoding="utf-8"))
    allowed: set[ast.expr | None] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Subscript(value=environment)]):
                allowed.add(environment)
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=environment, attr="setdefault"))):
                allowed.add(environment)
            case ast.Dict():
                allowed |= {value for key, value in zip(node.keys, node.values, strict=True) if key is None}
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr=name) if name in ENVIRONMENT and node not in allowed:
                yield node.lineno
            case ast.ImportFrom(module="os", names=names) if {each.name for each in names} & ENVIRONMENT:
                yield node.lineno


@pytest.mark.parametrize("source", [source for source in SOURCES if source != "api/settings.py"])
def test_the_environment_is_read_in_the_settings_only(source: str) -> None:
    assert list(environment_reads(source)) == []


def test_a_read_of_the_environment_would_be_seen() -> None:
    assert list(environment_reads("api/settings.py"))


def test_no_file_is_called_by_what_it_is_not_about() -> None:
    names = {Path(source).stem for source in SOURCES}
    assert not names & {"common", "helpers", "misc", "util", "utils"}


@pytest.mark.parametrize("source", SOURCES)
def test_a_file_is_short_enough_to_be_read(source: str) -> None:
    assert len((ROOT / source).read_text(encoding="utf-8").splitlines()) <= 300
