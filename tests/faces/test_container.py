"""What no honest file has is refused before Pillow reads it; what honest files have is not."""

import io
import struct
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from faces import container
from faces.errors import ImageCorruptError, ImageUnsupportedFormatError
from faces.image import decode, read_header

LIMIT = 1_000_000
TEN_MB = 10_000_000


def encoded(fmt: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(12 * 8 * 3, dtype=np.uint8).reshape(8, 12, 3)).save(file, fmt, **options)
    return file.getvalue()


def segment(marker: int, body: bytes = b"") -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body


def jpeg(extra: bytes) -> bytes:
    file = encoded("JPEG")
    return file[:2] + extra + file[2:]


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(extra: bytes, behind: bytes = b"") -> bytes:
    file = encoded("PNG")
    return file[:33] + extra + file[33:-12] + behind + file[-12:]


def png_in_parts(count: int) -> bytes:
    """A PNG whose pixels stand in so many chunks, most of them empty."""
    file = encoded("PNG")
    return file[:33] + chunk(b"IDAT") * (count - 1) + file[33:]


def webp(extra: bytes, flags: int = 0) -> bytes:
    body = b"WEBPVP8X" + struct.pack("<IB9s", 10, flags, b"\0\0\0\x0b\0\0\x07\0\0") + encoded("WEBP")[12:] + extra
    return b"RIFF" + struct.pack("<I", len(body)) + body


def riff(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def bmp(compression: int, width: int = 12, height: int = 8) -> bytes:
    """8 bits a pixel, run-length encoded if anything: a pixel and the end of the line, line by line."""
    body = b"\1\1\0\0" * height
    offset = 54 + 1024
    return (
        struct.pack("<2sIHHI", b"BM", offset + len(body), 0, 0, offset)
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, compression, 0, 0, 0, 0, 0)
        + bytes(range(256)) * 4
        + body
    )


EXIF, PHOTOSHOP = b"Exif\0\0", b"Photoshop 3.0\0"
HOSTILE: dict[str, Callable[[], bytes]] = {
    "1,001 empty segments": lambda: jpeg(segment(0xE5) * 1001),
    "1,001 empty comments": lambda: jpeg(segment(0xFE) * 1001),
    "1,001 segments without even their length": lambda: jpeg(b"\xff\xe5\0\0" * 1001),
    "1,001 restarts in front of the first scan": lambda: jpeg(b"\xff\xd0" * 1001),
    "5,000 fill bytes": lambda: jpeg(b"\xff" * 5000),
    "5,000 bytes between segments": lambda: jpeg(segment(0xE5) + b"\1" * 5000),
    "5,000 escaped bytes between segments": lambda: jpeg(b"\xff\0" * 2500),
    "5,000 bytes in two gaps": lambda: jpeg((segment(0xE5) + b"\1" * 2500) * 2),
    "5 full segments of Exif": lambda: jpeg(segment(0xE1, EXIF + b"x" * 65_000) * 5),
    "17 full segments of Photoshop": lambda: jpeg(segment(0xED, PHOTOSHOP + b"8BIM\4\4" + b"\0" * 65_000) * 17),
    "9 kB of quantization tables": lambda: jpeg(segment(0xDB, b"\0" * 9000)),
    "a frame header of 9 kB": lambda: jpeg(segment(0xC0, b"\x08\0\x08\0\x0c\3" + b"\1\x11\0" * 3000)),
    "1,000 private chunks": lambda: png(chunk(b"prVt") * 1000),
    "1,000 private chunks behind the pixels": lambda: png(b"", chunk(b"prVt") * 1000),
    "20,001 parts of pixels": lambda: png_in_parts(20_001),
    "5 MB of text": lambda: png(chunk(b"tEXt", b"a\0" + b"b" * 1_000_000) * 5),
    "5 profiles in a png": lambda: png(chunk(b"iCCP", b"a\0\0" + zlib.compress(b"\0" * 1000)) * 5),
    "300 kB of Exif in a png": lambda: png(chunk(b"eXIf", b"\0" * 300_000)),
    "300 kB of Exif in a png's text": lambda: png(chunk(b"tEXt", b"Raw profile type exif\0" + b"0" * 300_000)),
    "1,000 chunks in a webp": lambda: webp(riff(b"abcd") * 1000),
    "1,000 chunks of odd sizes in a webp": lambda: webp(riff(b"abcd", b"x") * 1000),
    "300 kB of Exif in a webp": lambda: webp(riff(b"EXIF", b"\0" * 300_000), 8),
    "20,001 frames": lambda: webp(riff(b"ANMF") * 20_001),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_honest_file_has_is_refused_before_pillow_reads_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("Pillow reads it")

    monkeypatch.setattr(Image, "open", fail)
    file = HOSTILE[name]()
    for read in (read_header, decode):
        with pytest.raises(ImageCorruptError, match=r"oversized\. It has .*more than"):
            read(file, max_pixels=LIMIT)


HONEST: dict[str, Callable[[], bytes]] = {
    "a profile in 255 segments": lambda: jpeg(
        b"".join(segment(0xE2, b"ICC_PROFILE\0" + bytes([each, 255]) + b"x" * 30_000) for each in range(1, 256))
    ),
    "6 MB of extended XMP": lambda: jpeg(segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"x" * 65_000) * 93),
    "three segments of Exif": lambda: jpeg(segment(0xE1, EXIF + b"x" * 65_000) * 3),
    "ten segments of Photoshop": lambda: jpeg(segment(0xED, PHOTOSHOP + b"8BIM\4\4" + b"\0" * 65_000) * 10),
    "500 comments": lambda: jpeg(segment(0xFE, b"a line") * 500),
    "fill bytes and a camera's stray ones": lambda: jpeg((segment(0xE5, b"x") + b"\xff" * 3 + b"\0" * 13) * 200),
    "999 segments": lambda: jpeg(segment(0xE5) * 990),
    "restarts in the scan": lambda: encoded("JPEG", restart_marker_blocks=1),
    "a progressive one": lambda: encoded("JPEG", progressive=True),
    "another picture behind": lambda: encoded("JPEG") * 2,
    "segments without end behind": lambda: encoded("JPEG") + segment(0xE5) * 10_000,
    "990 chunks": lambda: png(chunk(b"prVt") * 990),
    "10,000 parts of pixels": lambda: png_in_parts(10_000),
    "3 MB of text": lambda: png(b"", chunk(b"tEXt", b"a\0" + b"b" * 1_000_000) * 3),
    "two profiles": lambda: png(chunk(b"iCCP", b"a\0\0" + zlib.compress(b"\0" * 1000)) * 2),
    "chunks without end behind a png": lambda: encoded("PNG") + chunk(b"prVt") * 10_000,
    "100 kB of Exif in a png": lambda: png(chunk(b"eXIf", b"\0" * 100_000)),
    "990 chunks in a webp": lambda: webp(riff(b"abcd") * 990),
    "XMP of 1 MB in a webp": lambda: webp(riff(b"XMP ", b"x" * 1_000_001), 4),
}


@pytest.mark.parametrize("name", HONEST)
def test_what_honest_files_have_is_taken(name: str) -> None:
    picture = decode(HONEST[name](), max_pixels=LIMIT)
    assert (picture.width, picture.height) == (12, 8)


LARGEST: dict[str, tuple[str, Callable[[], bytes]]] = {
    "segments": ("JPEG", lambda: jpeg(segment(0xE5) * (TEN_MB // 4))),
    "fill bytes": ("JPEG", lambda: jpeg(b"\xff" * TEN_MB)),
    "escaped bytes": ("JPEG", lambda: jpeg(b"\xff\0" * (TEN_MB // 2))),
    "strays": ("JPEG", lambda: jpeg(b"\1" * TEN_MB)),
    "chunks": ("PNG", lambda: png(chunk(b"prVt") * (TEN_MB // 12))),
    "parts of pixels": ("PNG", lambda: png_in_parts(TEN_MB // 12)),
    "frames": ("WEBP", lambda: webp(riff(b"ANMF") * (TEN_MB // 8))),
}


@pytest.mark.parametrize("name", LARGEST)
def test_looking_over_10_mb_takes_no_time(name: str) -> None:
    fmt, make = LARGEST[name]
    file = make()
    begin = time.thread_time()
    with pytest.raises(ImageCorruptError, match="oversized"):
        container.check(file, fmt)
    assert time.thread_time() - begin < 0.1  # some milliseconds; Pillow takes seconds


@pytest.mark.parametrize("compression", [1, 2, 4, 5])
def test_a_compressed_bmp_is_unsupported(compression: int) -> None:
    # Run lengths, which Pillow unpacks in Python: 29 kB of 49 megapixels took 6 seconds.
    for size in ((12, 8), (7000, 7000)):
        with pytest.raises(ImageUnsupportedFormatError, match=r"compressed BMP.*Save it as PNG"):
            read_header(bmp(compression, *size), max_pixels=50_000_000)


def test_a_bmp_of_bit_fields_is_taken() -> None:
    masks = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)
    head = struct.pack("<2sIHHI", b"BM", 66 + 384, 0, 0, 66)
    file = head + struct.pack("<IiiHHIIiiII", 40, 12, 8, 1, 32, 3, 0, 0, 0, 0, 0) + masks + b"\x10\x20\x30\0" * 96
    assert decode(file, max_pixels=LIMIT).pixels.tolist() == [[[0x30, 0x20, 0x10]] * 12] * 8


def test_a_bmp_whose_header_tells_no_compression_is_taken() -> None:
    # OS/2's: where others have the compression there are pixels.
    head = struct.pack("<2sIHHI", b"BM", 26 + 288, 0, 0, 26) + struct.pack("<IHHHH", 12, 12, 8, 1, 24)
    file = head + b"\0\0\0\0\1\0\0\0" + b"\0" * 280
    assert decode(file, max_pixels=LIMIT).pixels.shape == (8, 12, 3)
