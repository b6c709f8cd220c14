"""A folder with what a run has found out: results.json, the tables as a page, and plots."""

import json
from collections.abc import Sequence
from pathlib import Path

from bench.speed.drawing import draw
from bench.speed.results import Results

PAGE = "README.md"


def keep(results: Results, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    keep_json(results, folder / "results.json")
    drawn = draw(results.tables, folder)
    (folder / PAGE).write_text(page(results, drawn), encoding="utf-8")


def keep_json(results: Results, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(results.as_json(), indent=1) + "\n", encoding="utf-8")


def page(results: Results, drawn: Sequence[str]) -> str:
    """In Markdown. drawn: files beside it, each called by the table that it shows."""
    about = [f"| {name} | {value} |" for name, value in results.about.items()]
    parts = ["# " + results.report.program, "\n".join(["| | |", "| --- | --- |", *about])]
    if results.report.figures:
        parts.append(results.report.markdown())
    for table in results.tables:
        parts.append(table.markdown())
        if f"{table.name}.svg" in drawn:
            parts.append(f"![{table.title}]({table.name}.svg)")
    return "\n\n".join(parts) + "\n"
