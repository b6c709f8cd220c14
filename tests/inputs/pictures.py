"""Picture files, good and bad, made of pixels: what a client may send, meaning well or not."""

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

Pixels = NDArray[np.uint8]  # [height, width, 3], RGB

# How a stored picture is turned for its viewer (EXIF 2.32, tag 0x0112), and what undoes it.
UNDONE = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,  # counter-clockwise; the viewer turns it clockwise
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}

# EXIF blocks that are none, or that lie about their own length.
BROKEN_EXIF = {
    "nothing": b"Exif\0\0",
    "garbage": b"Exif\0\0garbage",
    "an offset far outside": b"Exif\0\0II*\0\xff\xff\xff\x7f",
    "more entries than there are": b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12",
}


def encoded(image: Image.Image | NDArray[Any], fmt: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    quickly = {"compress_level": 1} if fmt == "PNG" else {}
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, fmt, **quickly | options)
    return file.getvalue()


def png(width: int, height: int, depth: int, kind: int, data: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG file from its raw scan lines, each with its filter byte in front."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)),
        *extra,
        (b"IDAT", zlib.compress(data)),
        (b"IEND", b""),
    ]
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def bmp(width: int, height: int, data: bytes) -> bytes:
    """A BMP file of 24 bits a pixel; a size beyond 31 bits is written as the negative number that it reads as."""
    size = np.array([width, height], np.uint32).astype(np.int32).tolist()
    whole = struct.pack("<2sIHHI", b"BM", 54 + len(data), 0, 0, 54)
    return whole + struct.pack("<IiiHHIIiiII", 40, *size, 1, 24, 0, 0, 0, 0, 0, 0) + data


def rle_bmp(width: int, height: int) -> bytes:
    """Run-length encoded: a pixel and the end of the line, line by line."""
    body = b"\1\1\0\0" * height
    whole = struct.pack("<2sIHHI", b"BM", 54 + 1024 + len(body), 0, 0, 54 + 1024)
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 0, 0)
    return whole + head + bytes(range(256)) * 4 + body


def turned(photo: Pixels, orientation: int, fmt: str = "PNG", **options: Any) -> bytes:
    """Stored turned, so that its EXIF orientation puts it upright; one that there is not, as it is."""
    upright = Image.fromarray(photo)
    undo = UNDONE.get(orientation)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encoded(upright if undo is None else upright.transpose(undo), fmt, exif=exif, **options)


def ycck_jpeg(photo: Pixels) -> bytes:
    """Pillow writes no YCCK: its planes are written as if they were CMYK's, and the Adobe marker is told the truth."""
    inks = Image.fromarray(255 - photo).convert("YCbCr")
    planes = [Image.fromarray(255 - np.asarray(plane)) for plane in inks.split()]
    file = encoded(Image.merge("CMYK", [*planes, Image.new("L", inks.size, 0)]), "JPEG", quality=98)
    transform = file.index(b"Adobe") + 11
    return file[:transform] + b"\2" + file[transform + 1 :]


def jpeg_411(photo: Pixels) -> bytes:
    """One colour for four pixels in a row. Pillow has the name, and writes 4:2:0."""
    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411, cv2.IMWRITE_JPEG_QUALITY, 95]
    done, file = cv2.imencode(".jpg", photo[:, :, ::-1], sampling)
    assert done
    return file.tobytes()


def deep_png(pixels: NDArray[np.uint8]) -> bytes:
    """pixels: uint8 [height, width, 3 or 4]; written with 16 bits a channel, as Pillow can't."""
    order = [2, 1, 0, 3][: pixels.shape[2]]
    done, file = cv2.imencode(".png", pixels[:, :, order].astype(np.uint16) * 257)
    assert done
    return file.tobytes()


def twins(photo: Pixels) -> dict[str, tuple[bytes, bytes]]:
    """Each way that a picture may be stored, and the plain RGB file of what a person sees in it. photo: RGB."""
    image = Image.fromarray(photo)
    plain = encoded(photo)
    grey = image.convert("L")
    plain_grey = encoded(grey.convert("RGB"))
    height, width = photo.shape[:2]
    # Half transparent at the lower edge, where no face is.
    alpha = np.repeat(np.where(np.arange(height) < height * 3 // 4, 255, 128).astype(np.uint8)[:, None], width, axis=1)
    seen, seen_grey = _over_white(photo, alpha), _over_white(np.asarray(grey.convert("RGB")), alpha)
    one_bit = image.convert("1", dither=Image.Dither.NONE)
    palette = image.quantize(64)
    gone = int(np.asarray(palette)[-1, 0])
    seen_palette = np.asarray(palette.convert("RGB")).copy()
    seen_palette[np.asarray(palette) == gone] = 255
    others = [Image.fromarray(255 - photo), Image.fromarray(np.zeros_like(photo))]
    animated = {"save_all": True, "append_images": others, "duration": 100}
    with_alpha = Image.fromarray(np.dstack([photo, alpha]))
    grey_with_alpha = Image.merge("LA", [grey, Image.fromarray(alpha)])
    return {
        "jpeg": (encoded(photo, "JPEG", quality=95), plain),
        "progressive jpeg": (encoded(photo, "JPEG", quality=95, progressive=True), plain),
        "jpeg 4:1:1": (jpeg_411(photo), plain),
        "grey jpeg": (encoded(grey, "JPEG", quality=95), plain_grey),
        "cmyk jpeg": (encoded(image.convert("CMYK"), "JPEG", quality=98), plain),
        "ycck jpeg": (ycck_jpeg(photo), plain),
        "a zip behind a jpeg": (encoded(photo, "JPEG", quality=95) + b"PK\3\4" + b"anything" * 100, plain),
        "two pictures in a jpeg": (encoded(image, "MPO", save_all=True, append_images=others[:1], quality=95), plain),
        "webp": (encoded(photo, "WEBP", quality=95), plain),
        "webp without loss": (encoded(photo, "WEBP", lossless=True), plain),
        "webp with alpha": (encoded(with_alpha, "WEBP", lossless=True, exact=True), encoded(seen)),
        "animated webp": (encoded(image, "WEBP", lossless=True, **animated), plain),
        "bmp": (encoded(photo, "BMP"), plain),
        "palette bmp": (encoded(palette, "BMP"), encoded(palette.convert("RGB"))),
        "animated png": (encoded(image, "PNG", **animated), plain),
        "grey png": (encoded(grey), plain_grey),
        "1-bit png": (encoded(one_bit), encoded(one_bit.convert("RGB"))),
        "1-bit bmp": (encoded(one_bit, "BMP"), encoded(one_bit.convert("RGB"))),
        "16-bit grey png": (encoded(np.asarray(grey).astype(np.uint16) * 257), plain_grey),
        "16-bit png": (deep_png(photo), plain),
        "16-bit png with alpha": (deep_png(np.dstack([photo, alpha])), encoded(seen)),
        "palette png": (encoded(palette), encoded(palette.convert("RGB"))),
        "palette png with transparency": (encoded(palette, transparency=gone), encoded(seen_palette)),
        "grey png with alpha": (encoded(grey_with_alpha), encoded(seen_grey)),
        "png with alpha": (encoded(with_alpha), encoded(seen)),
        **{f"exif orientation {each}": (turned(photo, each), plain) for each in range(10)},
        "jpeg with exif orientation 6": (turned(photo, 6, "JPEG", quality=95), plain),
        **{
            f"jpeg with broken exif: {name}": (encoded(photo, "JPEG", exif=exif, quality=95), plain)
            for name, exif in BROKEN_EXIF.items()
        },
    }


def _over_white(rgb: Pixels, alpha: NDArray[np.uint8]) -> Pixels:
    share = alpha[:, :, None].astype(np.float64) / 255
    return np.rint(rgb * share + 255 * (1 - share)).astype(np.uint8)


def damaged(photo: Pixels) -> dict[str, bytes]:
    """Files of the accepted formats that can't be read."""
    files = {fmt: encoded(photo, fmt) for fmt in ("JPEG", "PNG", "WEBP", "BMP")}
    wrong_crc = bytearray(files["PNG"])
    begin = wrong_crc.index(b"IDAT")
    (length,) = struct.unpack(">I", wrong_crc[begin - 4 : begin])
    wrong_crc[begin + 4 + length] ^= 1
    bomb = (b"zTXt", b"Comment\0\0" + zlib.compress(b"\0" * 30_000_000))
    return {
        "empty": b"",
        **{f"half a {name}": file[: len(file) // 2] for name, file in files.items()},
        **{f"the header of a {name}": file[:24] for name, file in files.items()},
        "a png with a wrong checksum": bytes(wrong_crc),
        "a png without width": png(0, 1, 8, 2, b"\0" * 100),
        "a png with a text of 30 MB": png(1, 1, 8, 0, b"\0\0", bomb),
        **_overgrown(files),
    }


def _overgrown(files: dict[str, bytes]) -> dict[str, bytes]:
    """With more metadata than pixels. Of ten times as much each would stop all other decoding for seconds."""
    jpeg = files["JPEG"]
    private = (b"prVt", b"")
    riff = files["WEBP"] + b"abcd\0\0\0\0" * 50_000
    return {
        "a jpeg of 50,000 Exif blocks": jpeg[:2] + b"\xff\xe1\0\x12Exif\0\0xxxxxxxxxx" * 50_000 + jpeg[2:],
        "a jpeg of 250,000 comments": jpeg[:2] + b"\xff\xfe\0\2" * 250_000 + jpeg[2:],
        "a jpeg behind 250,000 restarts": jpeg[:2] + b"\xff\xd0" * 250_000 + jpeg[2:],
        "a png of 20,000 private chunks": png(1, 1, 8, 0, b"\0\0", *[private] * 20_000),
        "a webp of 50,000 chunks": riff[:4] + struct.pack("<I", len(riff) - 8) + riff[8:],
    }


def foreign() -> dict[str, bytes]:
    """Files of formats that are not accepted."""
    dot = Image.new("RGB", (8, 8))
    return {
        "gif": encoded(dot, "GIF"),
        "tiff": encoded(dot, "TIFF"),
        "ico": encoded(dot, "ICO"),
        "ppm": encoded(dot, "PPM"),
        "jpeg2000": encoded(dot, "JPEG2000"),
        "eps": encoded(dot, "EPS"),
        "pdf": encoded(dot, "PDF"),
        "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 100,
        "avif": b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miafMA1B" + b"\0" * 100,
        "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        "zip": b"PK\3\4" + b"\0" * 100,
        "a bmp of run lengths": rle_bmp(8, 8),
        "a bmp of run lengths, 49 megapixels in 29 kB": rle_bmp(7000, 7000),
        "a wave file": b"RIFF\x24\0\0\0WAVEfmt " + b"\0" * 100,
        "a jpeg behind a space": b" " + encoded(dot, "JPEG"),
        "text": b"/etc/passwd",
        "zeros": b"\0" * 1000,
        "one byte": b"\xff",
    }
