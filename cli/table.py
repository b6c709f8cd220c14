"""Tables for people: cells in columns, of text alone."""

from collections.abc import Sequence

import click


def print_table(rows: Sequence[tuple[str, ...]], *, indent: int = 0) -> None:
    """The first row names the columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(" " * indent + line.rstrip())
