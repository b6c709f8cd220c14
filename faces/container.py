"""What of a file is no picture, looked over before Pillow is.

Pillow reads segments and chunks one by one in Python, and while it does no other thread decodes. A file of 10 MB can
have millions of them, which takes from seconds to a minute. Here each is passed by in a step, and a file is refused
that has more of them than any honest encoder writes. Whatever else is wrong with a file is left for Pillow to find.
"""

import re
import struct
from collections import Counter
from typing import Final

from faces.errors import ImageCorruptError, ImageUnsupportedFormatError

# A JPEG's profile of colours has up to 255 segments, its extended XMP some 16 for each megabyte.
MAX_PARTS: Final = 1000
# Encoders write parts of 8 KiB, and each frame of an animation in a few.
MAX_DATA_PARTS: Final = 20_000
# Bytes in front of a JPEG's markers: filling ones, and what cameras that can't count leave there.
MAX_GAPS: Final = 4096

_EXIF: Final = "bytes of Exif"
_PHOTOSHOP: Final = "bytes of Photoshop's notes"
_TEXT: Final = "bytes of text"
_TABLES: Final = "bytes of quantization tables"
_FRAMES: Final = "bytes of frame headers"
_PROFILES: Final = "color profiles"
# How much there may be in all of what Pillow does not only pass by but takes apart.
MAX_OF: Final = {
    _EXIF: 4 << 16,  # the standard has one segment; some cameras' previews and notes take a few
    _PHOTOSHOP: 1 << 20,
    _TEXT: 1 << 22,  # a picture's editing history, or the recipe of one that was generated
    _TABLES: 1 << 13,  # 4 of 129 bytes at most are used at a time
    _FRAMES: 1 << 8,  # each has 20 bytes at most
    _PROFILES: 4,  # a PNG has one, and each may unpack to a megabyte
}

# The markers that have no length behind them, for Pillow: restarts, the file's begin and end, and reserved ones.
_BARE: Final = frozenset((0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)))
_FRAME_HEADERS: Final = frozenset((*range(0xC0, 0xD0), 0xDE)) - {0xC4, 0xC8, 0xCC}
_SCAN: Final = 0xDA
_GAP: Final = re.compile(rb"(?:[^\xff]+|\xff+\x00)*+\xff+", re.DOTALL)

_PNG_DATA: Final = frozenset((b"IDAT", b"fdAT", b"fcTL"))
_PNG_TEXTS: Final = frozenset((b"tEXt", b"zTXt", b"iTXt"))
_BMP_COMPRESSIONS: Final = frozenset((1, 2, 4, 5))


def check(data: bytes, fmt: str) -> None:
    """Raises ImageCorruptError, and for a compressed BMP ImageUnsupportedFormatError."""
    {"JPEG": _check_jpeg, "PNG": _check_png, "WEBP": _check_webp, "BMP": _check_bmp}[fmt](data)


def _check_jpeg(data: bytes) -> None:
    """Its segments up to the first scan, which is as far as Pillow reads; behind it libjpeg does, which is quick."""
    sizes: Counter[str] = Counter()
    at, gaps = 2, 0
    for _ in range(MAX_PARTS):
        farthest = at + MAX_GAPS - gaps + 2
        gap = _GAP.match(data, at, farthest)
        if gap is None or gap.end() == min(farthest, len(data)):
            if len(data) < farthest:
                return
            raise _oversized("JPEG", f"more than {MAX_GAPS:,} bytes between its segments")
        gaps += gap.end() - 1 - at
        marker, at = data[gap.end()], gap.end() + 1
        if marker in _BARE:
            continue
        if marker == _SCAN or marker < 0xC0 or at + 2 > len(data):
            return
        size = int.from_bytes(data[at : at + 2], "big")
        if part := _jpeg_part(marker, data[at + 2 : at + 16]):
            _add(sizes, part, size, "JPEG")
        at += max(size, 2)
    raise _oversized("JPEG", f"more than {MAX_PARTS:,} segments")


def _jpeg_part(marker: int, begin: bytes) -> str | None:
    if marker == 0xDB:
        return _TABLES
    if marker in _FRAME_HEADERS:
        return _FRAMES
    if marker == 0xE1 and begin.startswith(b"Exif\0\0"):
        return _EXIF
    if marker == 0xED and begin.startswith(b"Photoshop 3.0\0"):
        return _PHOTOSHOP
    return None


def _check_png(data: bytes) -> None:
    sizes: Counter[str] = Counter()
    at, parts, data_parts = 8, 0, 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IEND":
            return
        if kind in _PNG_DATA:
            data_parts += 1
        else:
            parts += 1
            if kind == b"eXIf" or data.startswith(b"Raw profile type exif\0", at + 8):
                _add(sizes, _EXIF, size, "PNG")
            elif kind in _PNG_TEXTS:
                _add(sizes, _TEXT, size, "PNG")
            elif kind == b"iCCP":
                _add(sizes, _PROFILES, 1, "PNG")
        _check_parts("PNG", parts, data_parts)
        at += 12 + size


def _check_webp(data: bytes) -> None:
    sizes: Counter[str] = Counter()
    at, parts, frames = 12, 0, 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        if kind == b"ANMF":
            frames += 1
        else:
            parts += 1
            if kind == b"EXIF":
                _add(sizes, _EXIF, size, "WebP")
        _check_parts("WebP", parts, frames)
        at += 8 + size + size % 2


def _check_bmp(data: bytes) -> None:
    # Pillow unpacks run lengths in Python, pixel by pixel, and takes a second for as many as a file of 10 MB can have
    # that stand for no pixel at all: no limit on pixels would do. Hardly anybody writes such files.
    size, compression = data[14:18], data[30:34]
    if int.from_bytes(size, "little") >= 40 and int.from_bytes(compression, "little") in _BMP_COMPRESSIONS:
        raise ImageUnsupportedFormatError(
            "This is a compressed BMP (run-length encoded, most often), and only plain ones are taken. Save it as PNG."
        )


def _check_parts(fmt: str, parts: int, data_parts: int) -> None:
    if parts > MAX_PARTS:
        raise _oversized(fmt, f"more than {MAX_PARTS:,} chunks besides its pixels")
    if data_parts > MAX_DATA_PARTS:
        raise _oversized(fmt, f"its pixels in more than {MAX_DATA_PARTS:,} chunks")


def _add(sizes: Counter[str], part: str, amount: int, fmt: str) -> None:
    sizes[part] += amount
    if sizes[part] > MAX_OF[part]:
        raise _oversized(fmt, f"more than {MAX_OF[part]:,} {part}")


def _oversized(fmt: str, what: str) -> ImageCorruptError:
    return ImageCorruptError(
        f"The {fmt} image can't be decoded: its metadata are oversized. It has {what}. Save it anew without them."
    )
