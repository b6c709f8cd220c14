"""What was found in a photo, drawn into it."""

import io
import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Final

import click
from PIL import Image, ImageDraw, ImageFont

from cli.photos import PhotoError, Source
from faces import image
from faces.detection import Face

BOX, POINT = (0, 230, 118), (255, 214, 0)
FORMATS: Final = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".bmp": "BMP"}


def drawn(picture: Image.Image, faces: Sequence[Face]) -> Image.Image:
    """The picture itself, RGB, with the box, the points and the confidence of each face in it."""
    draw = ImageDraw.Draw(picture)
    thick = max(2, max(picture.size) // 300)  # to be seen in small ones, too
    font = ImageFont.load_default(8 * thick)
    for face in faces:
        draw.rectangle((face.left, face.top, face.right, face.bottom), outline=BOX, width=thick)
        label = f"{face.confidence:.2f}"
        draw.text((face.left, face.top - thick), label, BOX, font, "lb", stroke_width=thick, stroke_fill="black")
        for x, y in face.landmarks.tolist():
            draw.ellipse((x - thick, y - thick, x + thick, y + thick), fill=POINT)
    return picture


class Drawings:
    """The files that drawings go to: one, or one for each photo in a folder."""

    def __init__(self, named: str, given: Sequence[str], sources: Sequence[Source]) -> None:
        """named: the file for one photo that was given by itself, unless it is a folder or ends as one does; or the
        folder. given: files and folders, as they were named.

        Raises click's errors where that can't be.
        """
        out = Path(named)
        walked = [Path(each).resolve() for each in given if Path(each).is_dir()]
        self._file = len(given) == 1 and not walked and not out.is_dir() and not named.endswith(os.sep)
        self._out = out
        self._sources = {_identity(each.path) for each in sources if each.path is not None} - {None}
        self._taken: set[PurePath] = set()
        if self._file:
            if out.suffix.lower() not in FORMATS:
                raise click.UsageError(f"--draw {out}: the name must end with one of {', '.join(FORMATS)}")
            if not out.parent.is_dir():
                raise click.UsageError(f"--draw {out}: there is no folder {out.parent}")
            self._refuse_source(out)
            return
        for folder in walked:
            if out.resolve().is_relative_to(folder):
                raise click.UsageError(
                    f"--draw {out} lies in {folder}, which is searched for photos: the next time drawings would be "
                    "taken for photos. Give a folder elsewhere"
                )
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise click.ClickException(f"--draw {out}: the folder can't be made: {error.strerror}") from error
        if not os.access(out, os.W_OK | os.X_OK):
            raise click.ClickException(f"--draw {out}: nothing can be written there: Permission denied")

    def target(self, source: Source) -> Path:
        """The file for a photo's drawing. To be asked once for each, in their order: two of one name get numbers.

        Raises PhotoError where it is one of the photos.
        """
        if self._file:
            return self._out
        suffix = ".png" if source.place.suffix.lower() in {".png", ".bmp"} else ".jpg"
        stem = source.place.with_suffix("")
        place = stem.with_name(f"{stem.name}.faces{suffix}")
        number = 1
        while place in self._taken:
            number += 1
            place = stem.with_name(f"{stem.name}-{number}.faces{suffix}")
        self._taken.add(place)
        return self._out / place

    def write(self, content: bytes, faces: Sequence[Face], target: Path, *, max_pixels: int) -> None:
        """Draws the photo as a person sees it, in all its pixels. Takes its time. Raises ImageError, PhotoError."""
        pixels = image.decode(content, max_pixels=max_pixels).pixels
        file = io.BytesIO()
        kind = FORMATS[target.suffix.lower()]
        try:
            drawn(Image.fromarray(pixels), faces).save(file, kind, quality=90)
        except (OSError, ValueError) as error:  # a WebP has 16,383 pixels across at most
            raise PhotoError(f"it can't be drawn into a file of {kind}'s: {error}") from error
        try:
            self._refuse_source(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.getbuffer())
        except OSError as error:
            raise PhotoError(f"its drawing {target} can't be written: {error.strerror or error}") from error
        except click.UsageError as error:
            raise PhotoError(error.message) from error

    def _refuse_source(self, target: Path) -> None:
        if _identity(target) in self._sources:
            raise click.UsageError(f"--draw {target} is one of the photos, and would be lost. Give another name")


def _identity(path: Path) -> tuple[int, int] | None:
    """Of the file itself, however it is named; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
