"""The figures of one program: a table to read, JSON to keep, and whether what was wanted is reached."""

import argparse
import json
import math
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NoReturn

from bench import machine


@dataclass(frozen=True)
class Figure:
    part: str
    name: str
    value: float | str
    wanted: str = ""
    reached: bool | None = None  # None: nothing is wanted of it


@dataclass
class Report:
    program: str
    machine: str = field(default_factory=machine.describe)
    figures: list[Figure] = field(default_factory=list)

    def tell(self, part: str, name: str, value: float | str) -> None:
        """A figure of which nothing is wanted."""
        self._add(Figure(part, name, value))

    def at_most(self, part: str, name: str, value: float, limit: float) -> None:
        self._add(Figure(part, name, value, f"<= {limit:g}", value <= limit))  # NaN reaches nothing

    def at_least(self, part: str, name: str, value: float, limit: float) -> None:
        self._add(Figure(part, name, value, f">= {limit:g}", value >= limit))

    def holds(self, part: str, name: str, value: str, *, wanted: str, reached: bool) -> None:
        self._add(Figure(part, name, value, wanted, reached))

    def _add(self, figure: Figure) -> None:
        self.figures.append(figure)
        sys.stderr.write(f"  {figure.part}: {figure.name}: {_text(figure.value)}\n")
        sys.stderr.flush()

    @property
    def missed(self) -> list[Figure]:
        return [figure for figure in self.figures if figure.reached is False]

    def table(self) -> str:
        rows = self._rows()
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([f"{self.program} on {self.machine}", "", *lines])

    def markdown(self) -> str:
        """The same, for a page."""
        head, *rows = self._rows()
        return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))

    def _rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [("part", "figure", "value", "wanted", "")]
        for each in self.figures:
            verdict = {None: "", True: "reached", False: "MISSED"}[each.reached]
            rows.append((each.part, each.name, _text(each.value), each.wanted, verdict))
        return rows

    def as_json(self) -> str:
        return json.dumps(finite(asdict(self)))

    def finish(self, file: Path | None) -> NoReturn:
        """Prints all of it, and ends the program: with status 1 where something wanted is missed."""
        print(self.table(), self.as_json(), sep="\n\n")
        if file is not None:
            file.write_text(self.as_json() + "\n", encoding="utf-8")
        sys.exit(1 if self.missed else 0)


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}" if value < 1000 else f"{value:.0f}"


def finite(value: object) -> object:
    """JSON knows no NaN."""
    match value:
        case dict():
            return {name: finite(each) for name, each in value.items()}
        case list():
            return [finite(each) for each in value]
        case float():
            return value if math.isfinite(value) else None
        case _:
            return value


def options(description: str | None, *, parts: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The options that all programs share. SIGTERM then ends the program as Ctrl-C does: what it started goes too."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a short form, which shows that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures there as well")
    if parts:
        parser.add_argument("--part", action="append", choices=parts, help="only this one; may be given again")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return parser


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of them do not exceed (nearest rank); NaN of none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """By least squares, in units of value per unit of time; NaN of fewer than two times."""
    if len(set(times)) < 2:
        return math.nan
    middle_t, middle_v = sum(times) / len(times), sum(values) / len(values)
    above = sum((t - middle_t) * (v - middle_v) for t, v in zip(times, values, strict=True))
    return above / sum((t - middle_t) ** 2 for t in times)
