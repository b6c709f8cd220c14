"""How results are shown and kept."""

import json
import math
from pathlib import Path

from bench.report import Report
from bench.speed.drawing import draw
from bench.speed.keeping import keep
from bench.speed.requests import STAGES
from bench.speed.results import Results, Rows, Table

CURVE = Table(
    "faces",
    "Faces in a picture",
    ["settings", "faces", "found", "pictures /s", "faces /s", "p50 ms", "p99 ms", "CPU ms"],
    [["default", 1, 1, 13.94, 13.94, 265.0, 327.4, 122.3], ["default", 64, 64, 2.5, 159.2, 1163.0, 1467.0, math.nan]],
    "A note.",
)


def test_columns_are_as_wide_as_what_stands_in_them() -> None:
    head, first, second = CURVE.text().splitlines()[2:5]
    assert head == "settings  faces  found  pictures /s  faces /s  p50 ms  p99 ms  CPU ms"
    assert first == "default       1      1         13.9      13.9     265     327     122"
    assert second == "default      64     64          2.5       159    1163    1467     nan"
    assert CURVE.text().endswith("\n\nA note.")


def test_a_folder_keeps_a_page_the_figures_and_plots(tmp_path: Path) -> None:
    results = Results({"machine": "a small one"}, Report("bench.speed", machine="a small one"))
    results.report.at_least("detect", "of the ceiling", 0.5, 0.85)
    results.add(CURVE)
    results.add(Table("batches", "Batches", ["settings", "share"], [["default", "100% <= 1"]]))
    keep(results, tmp_path / "new")
    assert {file.name for file in (tmp_path / "new").iterdir()} == {"README.md", "results.json", "faces.svg"}
    page = (tmp_path / "new" / "README.md").read_text(encoding="utf-8")
    assert "| machine | a small one |" in page
    assert "| detect | of the ceiling | 0.5 | >= 0.85 | MISSED |" in page
    assert "| settings | faces | found |" in page
    assert "![Faces in a picture](faces.svg)" in page
    assert "batches.svg" not in page
    told = json.loads((tmp_path / "new" / "results.json").read_text(encoding="utf-8"))
    assert told["tables"][0]["rows"][0] == [*CURVE.rows[0]]
    assert told["tables"][0]["rows"][1][-1] is None


def test_stages_are_drawn_for_each_number_of_clients(tmp_path: Path) -> None:
    columns = ["job", "settings", "clients", *STAGES, "between", "around", "all"]
    rows: Rows = [
        ["detect", name, clients, *[1.0] * (len(STAGES) + 3)]
        for name, clients in (("no server", 1), ("default", 1), ("default", 16))
    ]
    assert draw([Table("stages", "Where it goes", columns, rows)], tmp_path) == ["stages.svg"]
    svg = (tmp_path / "stages.svg").read_text(encoding="utf-8")
    assert "ms, 1 clients" in svg
    assert "ms, 16 clients" in svg
    assert all(name in svg for name in STAGES)
