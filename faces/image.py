"""Encoded bytes -> pixels. Every limit on pixels lives here."""

import io
import warnings
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from faces.errors import ImageCorruptError, ImageTooManyPixelsError, ImageUnsupportedFormatError

Pixels = NDArray[np.uint8]  # [height, width, 3], RGB

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

# EXIF 2.32, tag 0x0112: how the stored array becomes the picture that a person sees.
_UPRIGHT: Final[dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


def decode(data: bytes, *, max_pixels: int) -> Pixels:
    """Decode a JPEG, PNG, WebP or BMP; of an animation the first frame.

    Returns uint8 [height, width, 3], RGB, contiguous, with the EXIF orientation applied: coordinates in it are
    coordinates in the picture as a person sees it. Transparency is laid over white; 16-bit values keep their high byte.

    Raises ImageUnsupportedFormatError, ImageTooManyPixelsError (both before a pixel is decoded), ImageCorruptError.
    """
    if not data:
        raise ImageCorruptError("The image is empty. Send the bytes of a JPEG, PNG, WebP or BMP file.")
    fmt = next((name for name, matches in _SIGNATURES.items() if matches(data[:12])), None)
    if fmt is None:
        raise ImageUnsupportedFormatError("This is not a JPEG, PNG, WebP or BMP file. Convert it to one of these.")
    try:
        with Image.open(io.BytesIO(data), formats=[fmt]) as image:
            _check_size(image.size, max_pixels)
            image.verify()  # a PNG's checksums, which load() passes over; the image is of no use after it
        with Image.open(io.BytesIO(data), formats=[fmt]) as image:
            image.load()
            return np.ascontiguousarray(_upright(image)(_rgb(image)))
    except (ImageTooManyPixelsError, MemoryError):
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


def _upright(image: Image.Image) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    """The turn or flip that the image's EXIF data ask for; none where they are absent, broken or out of range."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        return _UPRIGHT.get(int(orientation), _as_stored)
    except Exception:  # noqa: BLE001  broken metadata raise as variously as broken pixels, and don't spoil the picture
        return _as_stored


def _as_stored(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels
