"""What lists of pictures have in common, of pairs and of faces."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from evaluation.errors import ListError

_MOST_DIGITS: Final = 9


def read_text(file: Path) -> str:
    """Raises ListError."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ListError(f"{file} can't be read: {reason}") from error


def whole_number(word: str) -> int | None:
    """None for what is no number, and for one that is too long to count anything."""
    return int(word) if word.isdecimal() and len(word) <= _MOST_DIGITS else None


def is_there(file: Path, folder: Path, picture: str) -> bool:
    """Whether the folder has the picture that the list `file` names. Raises ListError where that can't be known."""
    try:
        return (folder / picture).is_file()
    except OSError as error:
        raise ListError(f"{file} names {picture[:100]!r}: {error.strerror}") from error


def check_there(file: Path, folder: Path, pictures: Iterable[str]) -> None:
    """ListError where the list names a picture that is not in the folder."""
    wanted = list(dict.fromkeys(pictures))
    missing = [each for each in wanted if not is_there(file, folder, each)]
    if missing:
        raise ListError(
            f"{len(missing)} of the {len(wanted)} pictures that {file} names are not in {folder}, as {missing[0]}. "
            "Name the folder with --images"
        )
