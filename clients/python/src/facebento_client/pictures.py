"""Images as pictures of Pillow, which is needed for arrays and for drawing only."""

import io
from typing import TYPE_CHECKING

from facebento_client import images

try:
    from PIL import ExifTags, Image
except ImportError as error:
    raise ImportError(images.NEEDS_PILLOW) from error

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# What PNG keeps as it is; another mode becomes RGB.
_PNG_MODES = frozenset(("1", "L", "LA", "I;16", "P", "RGB", "RGBA"))
# By what a picture of each EXIF orientation becomes upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_UNMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}


def picture(source: images.ImageSource) -> Image.Image:
    """The picture as a person sees it, RGB, and a new one: what a result's coordinates are coordinates in.

    Transparency is laid over white, and of 16 bits the higher 8 are kept, as the service does. Raises what images.read
    does, and PIL.UnidentifiedImageError.
    """
    if images.is_array(source):
        return from_array(source).convert("RGB")
    if images.is_picture(source):
        return _rgb(upright(source))
    with Image.open(io.BytesIO(images.read(source))) as image:
        return _rgb(upright(image))


def from_array(array: "NDArray[np.uint8]") -> Image.Image:
    """Of uint8 [height, width, 3] RGB, or [height, width] grey. Raises ValueError."""
    if array.dtype != "uint8":
        raise ValueError(f"The array holds {array.dtype}. Give uint8, 0 to 255.")
    if not (array.size and (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3))):
        raise ValueError(f"The array has the shape {array.shape}. Give [height, width, 3] in RGB, or [height, width].")
    return Image.fromarray(array)


def upright(image: Image.Image) -> Image.Image:
    """A copy with the EXIF orientation applied, and with no other: Pillow's exif_transpose would also take XMP's."""
    image.load()  # of a PNG, EXIF may come behind the pixels
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        turn = _TURNS.get(exif.get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001  broken metadata raise as variously as broken pixels, and don't spoil the picture
        turn = None
    turned = image.copy() if turn is None else image.transpose(turn)
    turned.info.pop("exif", None)  # it would turn it once more
    return turned


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image = _plain(image)
    kept = image if image.mode in _PNG_MODES else image.convert("RGB")
    kept.save(file, "PNG", compress_level=1)  # the fastest, and hardly larger than the default
    return file.getvalue()


def _plain(image: Image.Image) -> Image.Image:
    """The same in a mode from which Pillow converts without loss. Raises ValueError."""
    if image.mode == "F":
        raise ValueError("Numbers of mode F may mean anything. Give a picture of 8 or 16 bits.")
    if image.mode == "I" or image.mode.startswith("I;16"):
        # 16 bits, whichever way Pillow holds them: as older ones open a PNG of 16 bits.
        return image if image.mode == "I;16" else image.convert("I").convert("I;16")
    return image.convert(_UNMULTIPLIED[image.mode]) if image.mode in _UNMULTIPLIED else image


def _rgb(image: Image.Image) -> Image.Image:
    image = _plain(image)
    if image.mode.startswith("I;16"):
        return image.point(lambda value: value / 256).convert("L").convert("RGB")
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(seen, mask=seen.getchannel("A"))
        return white
    return image.convert("RGB")
