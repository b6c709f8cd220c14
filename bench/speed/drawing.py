"""The tables as curves, in SVG."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import colormaps
from matplotlib.figure import Figure

from bench.speed.results import Table


def draw(tables: Sequence[Table], folder: Path) -> list[str]:
    """A file for each table that is a curve, by the table's name. Returns their names."""
    drawn = []
    for table in tables:
        if table.name in _CURVES:
            # Text as text, and no random names: files that are small, and change only where a figure does.
            with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "facebento"}):
                figure = Figure(figsize=(10, 4), layout="constrained")
                _CURVES[table.name](table, figure)
                figure.savefig(folder / f"{table.name}.svg", format="svg", metadata={"Date": None})
            drawn.append(f"{table.name}.svg")
    return drawn


def _curves(x: str, by: Sequence[str], left: Sequence[str], right: Sequence[str]) -> Callable[[Table, Figure], None]:
    """Two panels over x, each with a line for each of its columns and each of what `by` tells apart."""

    def drawing(table: Table, figure: Figure) -> None:
        for axes, columns in zip(figure.subplots(1, 2), (left, right), strict=True):
            for key in dict.fromkeys(zip(*(table.column(name) for name in by), strict=True)):
                rows = [row for row in _named(table) if tuple(row[name] for name in by) == key]
                for column in columns:
                    label = ", ".join([*map(str, key), column])
                    axes.plot([row[x] for row in rows], [row[column] for row in rows], "o-", markersize=3, label=label)
            axes.set_xscale("log", base=2)
            axes.set_xticks(sorted(set(table.column(x))), map(str, sorted(set(table.column(x)))))
            axes.minorticks_off()
            axes.set_ylim(bottom=0)
            axes.set_xlabel(x)
            axes.grid(visible=True, alpha=0.3)
            axes.legend(fontsize="x-small")
        figure.suptitle(table.title, fontsize="medium", parse_math=False)

    return drawing


def _stages(table: Table, figure: Figure) -> None:
    """Bars, as long as a request takes; one panel for each number of clients, whose times are of other orders."""
    parts = table.columns[3:-1]
    rows = _named(table)
    numbers = sorted({row["clients"] for row in rows})
    for axes, clients in zip(figure.subplots(len(numbers), 1, squeeze=False)[:, 0], numbers, strict=True):
        shown = [row for row in rows if row["clients"] == clients]
        names = [f"{row['job']}, {row['settings']}" for row in shown]
        left = [0.0] * len(shown)
        for number, part in enumerate(parts):
            widths = [row[part] for row in shown]
            axes.barh(names, widths, left=left, label=part, color=colormaps["tab20"](number))
            left = [start + width for start, width in zip(left, widths, strict=True)]
        axes.invert_yaxis()
        axes.set_xlabel(f"ms, {clients} clients")
    figure.legend(parts, loc="outside right upper", fontsize="x-small")
    figure.suptitle(table.title, fontsize="medium")


def _named(table: Table) -> list[dict[str, Any]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


_CURVES: dict[str, Callable[[Table, Figure], None]] = {
    "clients": _curves("clients", ["job", "settings"], ["service /s", "ceiling /s"], ["p50 ms", "p99 ms"]),
    "faces": _curves("faces", ["settings"], ["pictures /s", "faces /s"], ["p50 ms", "p99 ms"]),
    "sizes": _curves("side", ["settings"], ["service /s", "ceiling /s"], ["p50 ms", "p99 ms"]),
    "engines": _curves("batch", ["model", "engine"], ["rows /s", "rows /s, two in flight"], ["ms a batch"]),
    "network": _curves("batch", ["model", "engine"], ["rows /s", "rows /s, two in flight"], ["ms a batch"]),
    "device": _curves("clients", ["job", "settings"], ["service /s", "decoding /s"], ["p50 ms", "p99 ms"]),
    "stages": _stages,
}
