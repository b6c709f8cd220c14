"""Encoded bytes -> pixels. Every limit on pixels lives here."""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.JpegImagePlugin import JpegImageFile

from faces import container
from faces.errors import (
    ImageCorruptError,
    ImageError,
    ImageSideTooLongError,
    ImageTooManyPixelsError,
    ImageTooManyScansError,
    ImageTooNarrowError,
    ImageUnsupportedFormatError,
)

T = TypeVar("T")
Pixels = NDArray[np.uint8]  # [height, width, 3], RGB

# OpenCV's warps count pixels in 16 bits with a sign.
MAX_SIDE: Final = 32_767
# On a canvas of 640 the short side of a narrower picture has less than 10 pixels: too few for any face.
MAX_ASPECT: Final = 64
# A scan of a progressive JPEG can be 60 bytes long and takes a pass over all pixels: without a limit a file of 10 MB
# keeps a thread busy for hours. This lets 50 scans of 50 megapixels pass, 3 seconds of work; encoders write 10 to 20.
MAX_SCANNED_PIXELS: Final = 2_500_000_000
REDUCTIONS: Final = (8, 4, 2)  # libjpeg's: a pixel for so many by so many
# For each pixel: libwebp's frame and the one before it, and the file of raw pixels that Pillow makes of a frame.
_WEBP_DECODER_BYTES: Final = 12
_STRIP_PIXELS: Final = 1 << 18
_STRIP_BYTES: Final = 18 * _STRIP_PIXELS  # what its conversion takes at most: transparency, laid over white

# The limit on pixels is this module's own, checked from the header: Pillow's would warn, at another number.
Image.MAX_IMAGE_PIXELS = None
# Pillow warns of broken metadata, which is nothing to fill a server's log with.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

# What a file of each accepted format begins with. Looked at before Pillow is, so that no other decoder ever runs and
# "not a picture we take" is told apart from "a picture that is broken".
_SIGNATURES: Final[dict[str, Callable[[bytes], bool]]] = {
    "JPEG": lambda head: head.startswith(b"\xff\xd8\xff"),
    "PNG": lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    "WEBP": lambda head: head.startswith(b"RIFF") and head[8:12] == b"WEBP",
    "BMP": lambda head: head.startswith(b"BM"),
}

# EXIF 2.32, tag 0x0112: whether rows and columns change places, and then the sides, and then top and bottom.
_ORIENTATIONS: Final = range(1, 9)
_AS_STORED: Final = (False, False, False)
_UPRIGHT: Final = {
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself before a pixel is decoded."""

    format: str  # JPEG, PNG, WEBP or BMP
    width: int  # as stored: before the EXIF orientation is applied
    height: int
    stored_bytes: int  # of Pillow's memory for each pixel
    decoder_bytes: float  # of the decoder's own memory for each pixel of the file, at any reduction

    def reduction(self, side: int) -> int:
        """How many pixels (along a side) a JPEG can be decoded to one of with `side` pixels left on its longer side.

        1, 2, 4 or 8; always 1 for the other formats.
        """
        longer = max(self.width, self.height)
        return self.possible(next((each for each in REDUCTIONS if longer >= each * side), 1))

    def possible(self, reduction: int) -> int:
        """The reduction itself where the format can be decoded at it."""
        return reduction if self.format == "JPEG" else 1

    def kept_bytes(self, reduction: int) -> int:
        """The memory of the decoded pixels."""
        return 3 * -(-self.width // reduction) * -(-self.height // reduction)

    def peak_bytes(self, reduction: int) -> int:
        """The memory that decoding takes while it lasts, the decoded pixels among it."""
        pixels = -(-self.width // reduction) * -(-self.height // reduction)
        decoder = int(self.decoder_bytes * self.width * self.height)
        return decoder + self.stored_bytes * pixels + self.kept_bytes(reduction) + _STRIP_BYTES


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture as a person sees it, or a reduced one that stands for it.

    Reduced pixel (x, y) shows what lies from `x * reduction - left` to `(x + 1) * reduction - left` of the full
    picture, and in the same way down. Where a side is no multiple of the reduction, the last pixel as stored reaches
    beyond the picture; left and top are by how much it does where a flip brought it to the front.
    """

    pixels: Pixels  # contiguous
    width: int  # of the full picture
    height: int
    reduction: int = 1
    left: int = 0  # pixels of the full picture
    top: int = 0
    oriented: bool = False  # whether the file told which side is up


def read_header(data: bytes, *, max_pixels: int) -> Header:
    """Everything that can be told of a file without decoding it.

    Raises ImageUnsupportedFormatError, ImageTooManyPixelsError, ImageSideTooLongError, ImageTooNarrowError,
    ImageTooManyScansError, ImageCorruptError.
    """
    fmt = _format(data)

    def read() -> Header:
        with _opened(data, fmt) as image:
            return _header(image, fmt, data, max_pixels)

    return _guarded(fmt, read)


def decode(data: bytes, *, max_pixels: int, reduction: int = 1) -> Picture:
    """Decode a JPEG, PNG, WebP or BMP; of an animation the first frame.

    The EXIF orientation is applied: coordinates are coordinates in the picture as a person sees it. Transparency is
    laid over white; 16-bit values keep their high byte. reduction: as Header.reduction gives it; for a JPEG only.

    Raises what read_header does, before a pixel is decoded, and ImageCorruptError.
    """
    fmt = _format(data)

    def read() -> Picture:
        with _opened(data, fmt) as image:
            header = _header(image, fmt, data, max_pixels)
            if fmt == "PNG":
                with _opened(data, fmt) as other:
                    other.verify()  # its checksums, which load() passes over; the image is of no use after it
            if reduction > 1:
                image.draft(None, (header.width // reduction, header.height // reduction))
            image.load()
            return _picture(image, header, reduction)

    return _guarded(fmt, read)


def _format(data: bytes) -> str:
    if not data:
        raise ImageCorruptError("The image is empty. Send the bytes of a JPEG, PNG, WebP or BMP file.")
    fmt = next((name for name, matches in _SIGNATURES.items() if matches(data[:12])), None)
    if fmt is None:
        raise ImageUnsupportedFormatError("This is not a JPEG, PNG, WebP or BMP file. Convert it to one of these.")
    container.check(data, fmt)
    return fmt


def _opened(data: bytes, fmt: str) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=[fmt])


def _guarded(fmt: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        # Pillow's decoders answer hostile bytes with nearly every exception there is (OSError, SyntaxError,
        # ValueError, struct.error, zlib.error, EOFError, ...): whatever it was, the picture can't be read.
        raise ImageCorruptError(
            f"The {fmt} image can't be decoded: it is truncated, damaged, or its metadata are oversized. Check that "
            "the whole file was sent, or save it anew."
        ) from error


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageTooManyPixelsError(
            f"The image has {width} x {height} pixels, and this service takes up to {max_pixels:,}. Scale it down."
        )
    if max(size) > MAX_SIDE:
        raise ImageSideTooLongError(
            f"The image has {width} x {height} pixels, and a side may have up to {MAX_SIDE:,}. Scale it down or cut it."
        )
    if max(size) > MAX_ASPECT * min(size):
        raise ImageTooNarrowError(
            f"The image has {width} x {height} pixels: with one side more than {MAX_ASPECT} times the other it can "
            "show no face. Send the whole picture."
        )


def _header(image: Image.Image, fmt: str, data: bytes, max_pixels: int) -> Header:
    _check_size(image.size, max_pixels)
    width, height = image.size
    # Pillow keeps an RGB pixel in four bytes, as all but these.
    stored_bytes = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}.get(image.mode, 4)
    decoder_bytes = 0.0
    if fmt == "WEBP":
        decoder_bytes = _WEBP_DECODER_BYTES
    elif isinstance(image, JpegImageFile) and (scans := _scans(image, data)):
        if scans * width * height > MAX_SCANNED_PIXELS:
            raise ImageTooManyScansError(
                f"The JPEG has up to {scans} scans of {width} x {height} pixels, which would take too long to decode. "
                "Save it as a baseline JPEG."
            )
        # Coefficients of 16 bits of all components, until the last scan has come.
        across, down = (max(layer[i] for layer in image.layer) for i in (1, 2))
        decoder_bytes = 2 * sum(layer[1] * layer[2] for layer in image.layer) / (across * down)
    return Header(fmt, width, height, stored_bytes, decoder_bytes)


def _scans(image: JpegImageFile, data: bytes) -> int:
    """How many scans follow that the decoder has to gather before there is a pixel; 0 where it gathers none.

    Never too few: a scan begins with these two bytes, which stand nowhere in its coded data. What follows the picture
    may have them too.
    """
    assert image.fp is not None  # noqa: S101  as it is of an image that has just been opened
    behind = image.fp.tell()  # the header of the first scan, where Pillow stops reading
    components = len(image.layer)
    header = b"\xff\xda" + (6 + 2 * components).to_bytes(2, "big") + bytes([components])
    begin = behind - 2 - (6 + 2 * components)
    whole = "progressive" not in image.info and data[begin : begin + 5] == header
    return 0 if whole else 1 + data.count(b"\xff\xda", behind)


def _picture(image: Image.Image, header: Header, reduction: int) -> Picture:
    """The loaded image, upright."""
    orientation = _orientation(image)
    turned, mirrored, upside_down = _UPRIGHT.get(orientation, _AS_STORED)
    rows, columns = image.size if turned else image.size[::-1]
    width, height = (header.height, header.width) if turned else (header.width, header.height)
    upright = np.empty((rows, columns, 3), np.uint8)
    stored = upright[:: -1 if upside_down else 1, :: -1 if mirrored else 1]
    _copy(image, stored.swapaxes(0, 1) if turned else stored)
    left = columns * reduction - width if mirrored else 0
    top = rows * reduction - height if upside_down else 0
    return Picture(upright, width, height, reduction, left, top, orientation in _ORIENTATIONS)


def _copy(image: Image.Image, target: Pixels) -> None:
    """Write the loaded image to target, strip by strip: whole, each of the steps would take its memory at once."""
    width, height = image.size
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        target[top:bottom] = _rgb(image.crop((0, top, width, bottom)))


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """The loaded image's pixels as uint8 [height, width, 3] RGB, whatever its mode."""
    if image.mode.startswith("I;16"):
        # Pillow's own conversion clips at 255 instead of scaling.
        deep = np.asarray(image)
        grey = (deep >> 8).astype(np.uint8)
        grey[deep == image.info.get("transparency", -1)] = 255
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(seen, mask=seen.getchannel("A"))
        return np.asarray(white)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _orientation(image: Image.Image) -> int:
    """What the loaded image's EXIF data say of its orientation; 0 where they are absent or broken.

    Pillow's getexif would also take it from XMP, and from a PNG's text, by which browsers and viewers turn nothing.
    """
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        return int(exif.get(ExifTags.Base.Orientation, 0))
    except Exception:  # noqa: BLE001  broken metadata raise as variously as broken pixels, and don't spoil the picture
        return 0
