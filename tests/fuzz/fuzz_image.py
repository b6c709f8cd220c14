"""Coverage-guided fuzzing of faces.image: any bytes are a picture within the limits, or an ImageError.

python -m tests.fuzz.fuzz_image --seconds 60
"""

import struct
import zlib
from collections.abc import Iterator

import atheris
import numpy as np

with atheris.instrument_imports(include=["faces.container", "faces.image", "PIL"]):
    from faces import image

from faces.errors import ImageError
from tests.fuzz.fuzzing import fuzz
from tests.inputs import pictures

MAX_PIXELS = 250_000
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def target(data: bytes) -> None:
    # libFuzzer does not guess checksums: a PNG is tried as it is, and with right ones.
    for each in {data, with_right_checksums(data)}:
        try:
            header = image.read_header(each, max_pixels=MAX_PIXELS)
            reduction = header.reduction(16)
            assert header.peak_bytes(reduction) > 0
            picture = image.decode(each, max_pixels=MAX_PIXELS, reduction=reduction)
        except ImageError:
            continue
        assert 0 < picture.width * picture.height <= MAX_PIXELS
        height, width, channels = picture.pixels.shape
        assert (height, width) == (-(-picture.height // picture.reduction), -(-picture.width // picture.reduction))
        assert picture.pixels.dtype == np.uint8
        assert channels == 3
        assert picture.pixels.flags.c_contiguous


def with_right_checksums(data: bytes) -> bytes:
    """The chunks of a PNG, each with its right checksum; anything else as it is."""
    if not data.startswith(PNG_SIGNATURE):
        return data
    made, at = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        body = data[at + 4 : at + 8 + length]
        made.append(data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body)))
        at += 12 + length
    return b"".join([*made, data[at:]])


def corpus() -> Iterator[bytes]:
    """A small file of each format and mode, and what is known to be refused."""
    x, y = np.meshgrid(np.arange(12), np.arange(8))
    photo = np.dstack([x * 20, y * 30, (x + y) * 12]).astype(np.uint8)
    for file, _ in pictures.twins(photo).values():
        yield file
    for file in (pictures.damaged(photo) | pictures.foreign()).values():
        if len(file) < 10_000:
            yield file
    yield pictures.png(13_000, 13_000, 1, 0, b"")


if __name__ == "__main__":
    fuzz(target, corpus(), longest=4096)
