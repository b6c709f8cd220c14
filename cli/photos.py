"""Which photos a command is to look at: files, folders that are walked, standard input."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO, Final

import click

from evaluation.run import Photo
from faces.errors import InputError

STDIN: Final = "-"
# In a folder; a file that is named by itself may be called anything. What is in a file is told by its bytes.
SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp"})
# More than a picture of 50 megapixels takes in any of the formats, and little enough to be held.
MOST_BYTES: Final = 512 * 1024 * 1024


class PhotoError(InputError):
    """A photo that can't be read. The message says why, and not which."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a photo is to come from. It may turn out not to be there."""

    name: str  # as it is told
    path: Path | None  # None: standard input
    place: PurePath  # in a folder of results: below the folder that was walked
    problem: str = ""  # why there is nothing to read

    def read(self) -> Photo:
        """Raises PhotoError."""
        if self.problem:
            raise PhotoError(self.problem)
        try:
            if self.path is None:
                return Photo(Path(STDIN), _limited(sys.stdin.buffer))
            with self.path.open("rb") as file:
                return Photo(self.path, _limited(file))
        except OSError as error:
            raise PhotoError(error.strerror or str(error)) from error


def find(given: Sequence[str]) -> list[Source]:
    """In the order given, and in a folder by name.

    A folder gives the files below it whose names end as those of pictures do, but for hidden files and folders (their
    names begin with a dot); links to folders are not followed.
    """
    return [source for text in given for source in _find(text)]


def shown(name: str) -> str:
    """A file's name as a terminal may be shown it: it may hold what is no text, or commands to the terminal."""
    return printable(text_of(name))


def printable(text: str) -> str:
    """What somebody else wrote, without commands to the terminal."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def text_of(name: str) -> str:
    """A file's name as JSON can hold it, which knows only text."""
    return os.fsencode(name).decode(errors="replace")


def tell_failed(name: str, reason: str) -> None:
    click.echo(f"Error: {shown(name)}: {printable(reason)}", err=True)


def _find(text: str) -> Iterator[Source]:
    if text == STDIN:
        yield Source(STDIN, None, PurePath("stdin"))
        return
    path = Path(text)
    if not path.is_dir():
        yield Source(text, path, PurePath(path.name))
        return
    found = False
    for each in _walk(path):
        found = True
        yield each
    if not found:
        yield Source(text, path, PurePath(path.name), f"there is no picture in it ({', '.join(sorted(SUFFIXES))})")


def _walk(folder: Path) -> Iterator[Source]:
    unreadable: list[OSError] = []
    for root, folders, files in os.walk(folder, onerror=unreadable.append):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for file in sorted(files):
            path = Path(root, file)
            if not file.startswith(".") and path.suffix.lower() in SUFFIXES:
                # A pipe would be waited for, for ever.
                problem = "it is no regular file" if path.exists() and not path.is_file() else ""
                yield Source(str(path), path, path.relative_to(folder), problem)
    for error in unreadable:
        path = Path(error.filename)
        yield Source(str(path), path, PurePath(path.name), error.strerror or str(error))


def _limited(file: BinaryIO) -> bytes:
    content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise PhotoError(f"it has more than {MOST_BYTES // 1024**2} MB, which no picture needs")
    return content
