"""Pictures as nobody should send them: broken, odd, oversized, or none at all."""

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageDraw, PngImagePlugin, features

from bench.known import crop
from tests.e2e.running import black_png

MOST_MUTATIONS = 6


@dataclass(frozen=True, slots=True)
class Picture:
    name: str
    data: bytes
    readable: bool | None  # None: depends on the reader


def _face(size: int) -> Image.Image:
    with Image.open(io.BytesIO(crop(size))) as face:
        return face.convert("RGB")


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@cache
def aligned() -> Mapping[str, bytes]:
    """Good ones of 112 x 112 pixels, to be broken: cheap to answer where they survive it."""
    face = _face(112)
    frames = [face, face.rotate(5)]
    return {
        "JPEG": _saved(face, "JPEG", quality=85),
        "progressive JPEG": _saved(face, "JPEG", progressive=True),
        "PNG": _saved(face, "PNG"),
        "palette PNG": _saved(face.quantize(64), "PNG", transparency=3),
        "16-bit PNG": _saved(Image.fromarray(np.asarray(face.convert("L")).astype(np.uint16) * 257), "PNG"),
        "animated PNG": _saved(face, "PNG", save_all=True, append_images=frames[1:]),
        "WebP": _saved(face, "WEBP"),
        "lossless WebP": _saved(face, "WEBP", lossless=True),
        "animated WebP": _saved(face, "WEBP", save_all=True, append_images=frames[1:]),
        "BMP": _saved(face, "BMP"),
        "EXIF JPEG": _saved(face, "JPEG", exif=_exif(6)),
    }


@cache
def odd() -> tuple[Picture, ...]:
    """Readable ones of 200 x 200 pixels that few senders think of; the same face in all."""
    face = _face(200)
    clear = face.copy()
    clear.putalpha(200)
    made = {
        **{f"EXIF orientation {n}": _saved(face, "JPEG", exif=_exif(n)) for n in (1, 2, 3, 4, 5, 6, 7, 8, 9)},
        "broken EXIF": _saved(face, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + bytes(20)),
        "CMYK": _saved(face.convert("CMYK"), "JPEG"),
        # Pillow writes CMYK with Adobe's transform 0; 2 declares YCCK.
        "YCCK": _saved(face.convert("CMYK"), "JPEG").replace(b"Adobe\0d\0\0\0\0\0", b"Adobe\0d\0\0\0\0\2"),
        "grey": _saved(face.convert("L"), "PNG"),
        "1 bit": _saved(face.convert("1"), "PNG"),
        "LA": _saved(clear.convert("LA"), "PNG"),
        "RGBA": _saved(clear, "PNG"),
        "palette": _saved(face.quantize(16), "PNG", transparency=1),
        "progressive": _saved(face, "JPEG", progressive=True),
        "4:2:0": _saved(face, "JPEG", subsampling=2),
        "animated": _saved(face, "WEBP", save_all=True, append_images=[face.rotate(9)]),
        "ZIP behind a JPEG": _saved(face, "JPEG") + _zip(),
        "JPEG behind a JPEG": _saved(face, "JPEG") * 2,
    }
    return tuple(Picture(name, data, readable=True) for name, data in made.items())


@cache
def not_taken() -> tuple[Picture, ...]:
    """Of formats that the contract refuses, and things that are no picture."""
    face = _face(200)
    made = {
        "GIF": _saved(face, "GIF"),
        "TIFF": _saved(face, "TIFF"),
        "ICO": _saved(face.resize((64, 64)), "ICO"),
        "PPM": _saved(face, "PPM"),
        "JPEG 2000": _saved(face, "JPEG2000") if features.check("jpg_2000") else b"\0\0\0\x0cjP  \r\n\x87\n",
        "AVIF": _saved(face, "AVIF") if features.check("avif") else b"\0\0\0\x1cftypavif" + bytes(64),
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(2000),
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n(/etc/passwd) run\n",
        "PDF": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n%%EOF",
        "ZIP": _zip(),
        "HTML": b"<!doctype html><img src=http://127.0.0.1/>",
        "pickle": b"\x80\x04\x95\x0f\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x8c\x06system\x93.",
        "empty": b"",
        "one byte": b"\xff",
        "JPEG's signature": b"\xff\xd8\xff",
        "PNG's signature": b"\x89PNG\r\n\x1a\n",
        "BMP's signature": b"BM",
        "WebP's signature": b"RIFF\xff\xff\xff\xffWEBP",
        "zeros": bytes(10_000),
    }
    return tuple(Picture(name, data, readable=False) for name, data in made.items())


@cache
def oversized() -> tuple[Picture, ...]:
    """Small files that unfold, and shapes that no camera has."""
    side = PngImagePlugin.PngInfo()
    side.add_text("comment", "A" * 50_000_000, zip=True)
    return (
        Picture("13,000 x 13,000", black_png(13_000, 13_000), readable=False),
        Picture("50,000 x 50,000", _png_head(50_000, 50_000), readable=False),
        Picture("2**31 - 1 wide", _png_head(2**31 - 1, 1), readable=False),
        Picture("0 x 0", _png_head(0, 0), readable=False),
        Picture("text bomb", _saved(_face(112), "PNG", pnginfo=side), readable=None),
        Picture("ICC bomb", _saved(_face(112), "PNG", icc_profile=bytes(30_000_000)), readable=None),
        Picture("header of 65,500 x 65,500", _jpeg_of(65_500, 65_500), readable=False),
        Picture("1 x 10,000", black_png(1, 10_000), readable=None),
        Picture("10,000 x 1", black_png(10_000, 1), readable=None),
        Picture("1 x 1", black_png(1, 1), readable=None),
        Picture(
            "BMP of 2**31 - 1 rows",
            b"BM" + struct.pack("<IIIIiiHHIIiiII", 0, 0, 54, 40, 9, 2**31 - 1, 1, 24, *[0] * 6),
            readable=False,
        ),
    )


@cache
def contents() -> tuple[Picture, ...]:
    """Readable ones in which a detector finds strange things or nothing."""
    noise = np.random.default_rng(4)
    wall = Image.new("RGB", (1280, 1000))
    for number in range(1000):
        wall.paste(_tile(), (number % 40 * 32, number // 40 * 40))
    frame = Image.new("RGB", (400, 300), "grey")
    tiny, border = frame.copy(), frame.copy()
    tiny.paste(_face(10), (200, 100))
    border.paste(_face(260), (-130, 20))
    made = {
        "black": Image.new("RGB", (320, 240)),
        "white": Image.new("RGB", (320, 240), "white"),
        "noise": Image.fromarray(noise.integers(0, 256, (240, 320, 3), np.uint8)),
        "upside down": _face(300).rotate(180),
        "a face of 10 pixels": tiny,
        "half a face at the border": border,
        "a face that fills the frame": _face(200).crop((50, 50, 150, 150)).resize((400, 400)),
        "1,000 faces": wall,
        "checks": _checks(),
    }
    return tuple(Picture(name, _saved(image, "JPEG", quality=80), readable=True) for name, image in made.items())


@cache
def large(megapixels: int) -> Picture:
    """A readable JPEG of so many million pixels."""
    side = int((megapixels * 1e6) ** 0.5)
    return Picture(
        f"{megapixels} megapixels", _saved(_face(300).resize((side, side)), "JPEG", quality=40), readable=True
    )


def make_all() -> None:
    """Makes those that are kept, which takes a second: before a load, not during it."""
    for kept in (aligned, odd, not_taken, oversized, contents):
        kept()


def broken(rng: random.Random) -> Picture:
    """One of the good ones with some of its bytes changed, lost or doubled; it may still be readable."""
    name = rng.choice(list(aligned()))
    return Picture(f"broken {name}", mutated(aligned()[name], rng), readable=None)


def mutated(data: bytes, rng: random.Random) -> bytes:
    bytes_ = bytearray(data)
    for _ in range(rng.randint(1, MOST_MUTATIONS)):
        at = rng.randrange(len(bytes_) or 1) if rng.random() < 0.5 else rng.randrange(min(len(bytes_), 64) or 1)
        length = min(rng.choice((1, 1, 2, 4, 16, 300)), len(bytes_) - at)
        match rng.randrange(7):
            case 0 if bytes_:
                bytes_[at] ^= 1 << rng.randrange(8)
            case 1:
                bytes_[at : at + length] = rng.randbytes(length)
            case 2:
                bytes_[at : at + length] = rng.choice((b"\xff", b"\0", b"\x7f", b"\x80")) * length
            case 3:
                del bytes_[at : at + length]
            case 4:
                bytes_[at:at] = bytes_[at : at + length] * rng.randint(1, 50)
            case 5:
                bytes_[at:at] = rng.randbytes(length)
            case _:
                del bytes_[at:]
    return bytes(bytes_)


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(10_000_000))
    return file.getvalue()


def _png_head(width: int, height: int) -> bytes:
    """A PNG that declares this size and holds a row's beginning."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(1000))))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _jpeg_of(width: int, height: int) -> bytes:
    """A good JPEG whose frame header declares another size."""
    data = bytearray(aligned()["JPEG"])
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


@cache
def _tile() -> Image.Image:
    return _face(40).crop((4, 0, 36, 40))


def _checks() -> Image.Image:
    image = Image.new("RGB", (256, 256), "white")
    draw = ImageDraw.Draw(image)
    for number in range(64):
        if (number + number // 8) % 2:
            draw.rectangle((number % 8 * 32, number // 8 * 32, number % 8 * 32 + 31, number // 8 * 32 + 31), "black")
    return image
