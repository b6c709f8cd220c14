"""Lists of pairs of pictures, and whether each pair shows one person: LFW's pairs.txt, and CSV."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from evaluation.errors import ListError
from evaluation.lists import check_there, is_there, read_text, whole_number

EXTENSIONS: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
COLUMNS: Final = ("image1", "image2", "same")
_SAME: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures, by their paths from the folder of pictures on. fold: counted from 0; None where none is named."""

    first: str
    second: str
    same: bool
    fold: int | None


def read_pairs(file: Path, folder: Path) -> list[Pair]:
    """The pairs of a list, in its order.

    CSV where the first line has a comma: a header with image1, image2, same (1 or 0) and, if you like, fold; paths from
    `folder` on. LFW's format otherwise: a header `sets<TAB>n` or `n`, then for each set n lines `name i j` of one
    person and n lines `name i other j` of two, and the picture i of a name is `folder/name/name_000i.jpg`, or the same
    with another extension. The sets are the folds where there are several.

    Raises ListError, with the line that is wrong, where the list can't be read, a picture is not there, or all pairs
    are of one kind.
    """
    text = read_text(file)
    read = _read_csv if "," in text.partition("\n")[0] else _read_lfw
    pairs = list(read(file, text, folder))
    if {pair.same for pair in pairs} != {True, False}:
        raise ListError(f"{file} needs pairs of one person and pairs of two: it has only one kind, or none")
    folds = {pair.fold for pair in pairs}
    if None not in folds and len(folds) < 2:
        raise ListError(f"{file} names a single fold: leave the column out, and folds are made")
    check_there(file, folder, (each for pair in pairs for each in (pair.first, pair.second)))
    return pairs


def _read_csv(file: Path, text: str, _: Path) -> Iterator[Pair]:
    reader = csv.DictReader(io.StringIO(text), strict=True)
    folds: dict[str, int] = {}
    try:
        columns = [name.strip() for name in reader.fieldnames or ()]
        if missing := [name for name in COLUMNS if name not in columns]:
            raise ListError(f"{file}, line 1: the header has no {' and no '.join(missing)}. It is: image1,image2,same")
        if twice := [name for name in (*COLUMNS, "fold") if columns.count(name) > 1]:
            raise ListError(f"{file}, line 1: the header has {' and '.join(twice)} more than once")
        for raw in reader:
            where = f"{file}, line {reader.line_num}"
            row = {name.strip(): (value or "").strip() for name, value in raw.items() if isinstance(name, str)}
            same = _SAME.get(row["same"].lower())
            if same is None:
                raise ListError(f"{where}: `same` must be 1 or 0, found {row['same'][:100]!r}")
            if not row["image1"] or not row["image2"]:
                raise ListError(f"{where}: two pictures are needed")
            if "fold" in columns and not row["fold"]:
                raise ListError(f"{where}: the fold is missing. Name one for each pair, or leave the column out")
            fold = folds.setdefault(row["fold"], len(folds)) if "fold" in columns else None
            yield Pair(row["image1"], row["image2"], same, fold)
    except csv.Error as error:
        raise ListError(f"{file}, line {max(1, reader.line_num)}: {error}") from error


def _read_lfw(file: Path, text: str, folder: Path) -> Iterator[Pair]:
    lines = [(number, line.split()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    header = [number for word in lines[0][1] if (number := whole_number(word))] if lines else []
    if not lines or len(header) != len(lines[0][1]) or len(header) not in {1, 2}:
        raise ListError(
            f"{file}, line 1: expected LFW's header (sets, and pairs of each kind in a set, `10 300`; or the pairs of "
            "each kind alone, `500`), or that of a CSV, image1,image2,same"
        )
    sets, of_each = (1, header[0]) if len(header) == 1 else (header[0], header[1])
    if len(lines) - 1 != sets * of_each * 2:
        raise ListError(f"{file}: by its first line it has {sets * of_each * 2} pairs, found {len(lines) - 1}")
    for index, (number, words) in enumerate(lines[1:]):
        match words:
            case [name, i, j]:
                other, same = name, True
            case [name, i, other, j]:
                same = False
            case _:
                i = j = ""
        first, second = whole_number(i), whole_number(j)
        if first is None or second is None:
            raise ListError(f"{file}, line {number}: expected `name i j` or `name i other j`")
        fold = index // (2 * of_each) if sets > 1 else None
        yield Pair(_lfw_path(file, folder, name, first), _lfw_path(file, folder, other, second), same, fold)


def _lfw_path(file: Path, folder: Path, name: str, number: int) -> str:
    stem = f"{name}/{name}_{number:04d}"
    names = [f"{stem}{each}" for extension in EXTENSIONS for each in (extension, extension.upper())]
    return next((each for each in names if is_there(file, folder, each)), names[0])
