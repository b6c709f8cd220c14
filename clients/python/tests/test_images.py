"""Whatever a caller has for an image, and what is sent of it."""

import io
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from clients.python.tests.answering import Ask, answers
from facebento_client import images, pictures
from faces.image import decode

RGB: Any = np.random.default_rng(7).integers(0, 256, (20, 30, 3), np.uint8)


def service_sees(data: bytes) -> Any:
    """As the service decodes what is sent: uint8 [height, width, 3]."""
    return decode(data, max_pixels=10**6).pixels


def encoded(fmt: str, pixels: Any = RGB, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, fmt, **options)
    return file.getvalue()


def sideways(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encoded("JPEG", exif=exif)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, io.BytesIO])
def test_bytes_are_sent_as_they_are(kind: Any) -> None:
    assert images.read(kind(b"image")) == b"image"


@pytest.mark.parametrize("kind", [str, Path, os.fspath])
def test_a_path_is_read(kind: Any, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"image")
    assert images.read(kind(path)) == b"image"
    with path.open("rb") as file:
        file.seek(2)
        assert images.read(file) == b"age"


@pytest.mark.parametrize("pixels", [RGB, RGB[:, :, 0], RGB[::2, ::-1]], ids=["colour", "grey", "a view"])
def test_an_array_loses_nothing(pixels: Any) -> None:
    seen = service_sees(images.read(pixels))
    assert (seen == (pixels if pixels.ndim == 3 else pixels[:, :, None])).all()
    assert (np.asarray(pictures.picture(pixels)) == seen).all()


def test_a_frame_of_opencv_is_turned_round_by_whoever_has_it() -> None:
    frame = cv2.cvtColor(RGB, cv2.COLOR_RGB2BGR)
    assert (service_sees(images.read(frame[..., ::-1])) == RGB).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV"])
def test_a_picture_is_sent_as_it_looks(mode: str) -> None:
    unmultiplied = {"La": "LA", "RGBa": "RGBA", "PA": "P"}.get(mode, mode)
    image = Image.fromarray(RGB).convert(unmultiplied).convert(mode)
    seen = service_sees(images.read(image))
    plain = image.convert({"La": "LA", "RGBa": "RGBA"}.get(mode, mode))
    expected = plain.convert("RGBA").convert("RGB") if "A" in mode else plain.convert("RGB")
    assert (seen == np.asarray(expected)).all()
    assert (np.asarray(pictures.picture(image)) == seen).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_picture_is_seen_as_the_service_sees_it(orientation: int) -> None:
    file = sideways(orientation)
    with Image.open(io.BytesIO(file)) as image:
        assert (service_sees(images.read(image)) == service_sees(file)).all()
        assert (np.asarray(pictures.picture(image)) == service_sees(file)).all()
    assert (np.asarray(pictures.picture(file)) == service_sees(file)).all()


def test_xmp_turns_nothing() -> None:
    file = encoded(
        "JPEG", xmp=b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><tiff:Orientation>6</tiff:Orientation></x:xmpmeta>'
    )
    assert (np.asarray(pictures.picture(file)) == service_sees(file)).all()
    with Image.open(io.BytesIO(file)) as image:
        assert (service_sees(images.read(image)) == service_sees(file)).all()


def test_16_bits_and_transparency_are_seen_as_the_service_sees_them() -> None:
    deep = encoded("PNG", np.arange(60_000, dtype=np.uint16).reshape(200, 300))
    clear = encoded("PNG", np.dstack([RGB, RGB[:, :, 0]]))
    for file in (deep, clear):
        assert (np.asarray(pictures.picture(file)) == service_sees(file)).all()
    with Image.open(io.BytesIO(deep)) as image:
        assert (service_sees(images.read(image)) == service_sees(deep)).all()
        # As other versions of Pillow open it.
        whole = image.convert("I")
    assert (service_sees(images.read(whole)) == service_sees(deep)).all()
    assert (np.asarray(pictures.picture(whole)) == service_sees(deep)).all()


@pytest.mark.parametrize(
    ("source", "error", "says"),
    [
        (b"", ValueError, "empty"),
        (io.BytesIO(), ValueError, "seek"),
        ("https://example.com/a.jpg", ValueError, "an address"),
        ("data:image/png;base64,AAAA", ValueError, "an address"),
        ("no-such-file.jpg", FileNotFoundError, "no-such-file"),
        (io.StringIO("text"), TypeError, '"rb"'),
        (None, TypeError, "NoneType"),
        (7, TypeError, "this is a int"),
        ([1, 2], TypeError, "this is a list"),
        (RGB.astype(np.float32), ValueError, "float32"),
        (np.zeros((2, 2, 4), np.uint8), ValueError, "shape"),
        (np.zeros((0, 2, 3), np.uint8), ValueError, "shape"),
        (np.zeros(7, np.uint8), ValueError, "shape"),
        (Image.new("F", (2, 2)), ValueError, "mode F"),
    ],
    ids=lambda each: str(each) if isinstance(each, str) else type(each).__name__,
)
def test_what_is_no_image_is_refused_before_anything_is_sent(
    asked: Ask, source: Any, error: type[Exception], says: str
) -> None:
    service = answers({})
    with pytest.raises(error, match=says):
        asked(service, "detect", source)
    assert service.requests == []
