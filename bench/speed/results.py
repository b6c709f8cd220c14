"""What a run has found out: figures of which something is wanted, and tables of all others."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.report import Report, finite

Cell = str | float | int
Rows = list[list[Cell]]


@dataclass(frozen=True)
class Table:
    name: str  # of its section, in one word
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    def text(self) -> str:
        """For a terminal."""
        lines = [self.columns, *([_text(cell) for cell in row] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        told = [
            "  ".join(
                cell.ljust(width) if number == 0 else cell.rjust(width)
                for number, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, "", *told, *(["", self.note] if self.note else [])])

    def markdown(self) -> str:
        lines = [" | ".join(self.columns), " | ".join(["---", *["---:"] * (len(self.columns) - 1)])]
        lines += [" | ".join(_text(cell) for cell in row) for row in self.rows]
        return "\n".join(
            [f"## {self.title}", "", *(f"| {line} |" for line in lines), *(["", self.note] if self.note else [])]
        )

    def column(self, name: str) -> list[Any]:
        index = self.columns.index(name)
        return [row[index] for row in self.rows]


@dataclass
class Results:
    about: Mapping[str, str]  # the machine, versions, models, settings
    report: Report
    tables: list[Table] = field(default_factory=list)
    rounds: dict[str, Any] = field(default_factory=dict)  # what medians were taken of

    def add(self, table: Table) -> None:
        self.tables.append(table)

    def text(self) -> str:
        about = "\n".join(f"{name}: {value}" for name, value in self.about.items())
        return "\n\n".join([about, self.report.table(), *(table.text() for table in self.tables)])

    def as_json(self) -> Any:
        return finite(
            {
                "about": dict(self.about),
                "figures": [asdict(figure) for figure in self.report.figures],
                "tables": [asdict(table) for table in self.tables],
                "rounds": self.rounds,
            }
        )


def _text(cell: Cell) -> str:
    if isinstance(cell, str | int):
        return str(cell)
    return f"{cell:.3g}" if abs(cell) < 100 else f"{cell:.0f}"
