"""How an upload is opened: its header first, then its pixels, within the memory that is held for them."""

from dataclasses import dataclass
from typing import Final, Protocol

from faces.errors import blamed_on
from faces.image import Header, Picture, read_header
from faces.image import decode as decode_image
from stages import decoded, stage

# Pixels that a reduced picture has left for each of the canvas, across and down. With one, the detector sees a sharper
# picture than of the full one, and large faces move by up to two pixels of the canvas; with two by half a pixel.
SEEN_PER_CANVAS: Final = 2


class Upload(Protocol):
    """What a client sent in one field of a request."""

    @property
    def field(self) -> str: ...

    def read(self) -> bytes: ...


class LargerError(Exception):
    """A picture takes more memory than is held for it."""


class Opener:
    """Its methods take their time, and are for threads. They raise what faces.image does, and name the field."""

    def __init__(self, *, max_pixels: int, canvas_size: int) -> None:
        self._max_pixels = max_pixels
        self._canvas_size = canvas_size

    def header(self, upload: Upload) -> Header:
        with stage("decode"), blamed_on(upload.field):
            return read_header(upload.read(), max_pixels=self._max_pixels)

    def reduction(self, header: Header) -> int:
        """For a look at the whole picture."""
        return header.reduction(SEEN_PER_CANVAS * self._canvas_size)

    def picture(self, upload: Upload, reduction: int) -> Picture:
        with stage("decode"), blamed_on(upload.field):
            picture = decode_image(upload.read(), max_pixels=self._max_pixels, reduction=reduction)
        decoded(picture.pixels.shape[0] * picture.pixels.shape[1])
        return picture


@dataclass(slots=True)
class Opening:
    opener: Opener
    upload: Upload
    bytes: int  # of memory: what is held for it before it is open, and what it keeps after that
    keep: bool  # whether the picture is needed when it has been looked at
    needed: int = 0  # bytes of memory, to be opened
    picture: Picture | None = None

    def open(self) -> tuple[Header, Picture]:
        """The picture as a look at the whole of it needs it. Raises LargerError, and notes how much it takes."""
        header = self.opener.header(self.upload)
        reduction = self.opener.reduction(header)
        self.needed = header.peak_bytes(reduction)
        if self.needed > self.bytes:
            raise LargerError
        picture = self.opener.picture(self.upload, reduction)
        self.bytes = picture.pixels.nbytes if self.keep else 0
        self.picture = picture if self.keep else None
        return header, picture
