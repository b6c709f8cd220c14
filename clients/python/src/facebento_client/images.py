"""What a caller may have for an image -> the bytes of an image file."""

import os
import sys
from typing import TYPE_CHECKING, BinaryIO, TypeAlias, TypeGuard

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

# A str or os.PathLike is a path, never an address. Bytes and a binary file hold a JPEG, PNG, WebP or BMP. An array is
# uint8, [height, width, 3] in the order RGB or [height, width] grey; of OpenCV's BGR frames give frame[..., ::-1].
ImageSource: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | NDArray[np.uint8] | Image.Image"
)

NEEDS_PILLOW = "numpy arrays as images, and drawing, need Pillow: pip install 'facebento-client[images]'"


def read(source: ImageSource) -> bytes:
    """The bytes to send: a file's as they are; of an array or a PIL image those of a PNG, which loses nothing.

    A file object is read from where it stands to its end. A PIL image's EXIF orientation is applied, as the service
    does with a file's. Raises TypeError, ValueError, OSError.
    """
    if isinstance(source, str | os.PathLike):
        return _read_file(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return _not_empty(bytes(source))
    if is_array(source):
        from facebento_client import pictures  # noqa: PLC0415  here only, since it needs Pillow

        return pictures.png(pictures.from_array(source))
    if is_picture(source):
        from facebento_client import pictures  # noqa: PLC0415

        return pictures.png(pictures.upright(source))
    if hasattr(source, "read"):
        data = source.read()
        if not isinstance(data, bytes):
            raise TypeError('The file was opened as text. Open it with mode "rb".')
        return _not_empty(data)
    kind = type(source).__name__
    raise TypeError(f"An image is a path, bytes, a binary file, a numpy array or a PIL image, and this is a {kind}.")


def is_array(source: object) -> "TypeGuard[NDArray[np.uint8]]":
    """Of whatever type its numbers are."""
    # Who has an array has imported numpy; who has none need not have it.
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(source, numpy.ndarray)


def is_picture(source: object) -> "TypeGuard[Image.Image]":
    """Whether it is Pillow's."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(source, pillow.Image)


def _read_file(path: "str | os.PathLike[str]") -> bytes:
    if isinstance(path, str) and path.startswith(("http://", "https://", "data:")):
        raise ValueError("This is an address. Nothing is fetched from one: give a path, or the bytes of the image.")
    with open(path, "rb") as file:  # noqa: PTH123  takes every kind of path
        return _not_empty(file.read())


def _not_empty(data: bytes) -> bytes:
    if not data:
        raise ValueError("The image is empty. Of a file object that was read before: seek(0) first.")
    return data
