"""Results drawn on the image that they are of. Needs Pillow."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from facebento_client import pictures
from facebento_client.images import NEEDS_PILLOW, ImageSource

try:
    from PIL import Image, ImageDraw, ImageFont
except ImportError as error:
    raise ImportError(NEEDS_PILLOW) from error

_BOX, _POINT, _EDGE = (0, 230, 118), (255, 214, 0), (0, 0, 0)


class Drawable(Protocol):
    """A face: left, top, right, bottom; five points; 0 to 1."""

    @property
    def box(self) -> tuple[int, int, int, int]: ...
    @property
    def landmarks(self) -> Iterable[tuple[int, int]]: ...
    @property
    def confidence(self) -> float: ...


def draw(image: ImageSource, faces: Iterable[Drawable]) -> Image.Image:
    """A new picture, upright, RGB, with a box, five points and the confidence for each face."""
    picture = pictures.picture(image)
    canvas = ImageDraw.Draw(picture)
    side = max(picture.size)
    width, letters = max(2, side // 400), max(12, side // 40)
    font = ImageFont.load_default(letters)
    for face in faces:
        left, top, right, bottom = face.box
        canvas.rectangle((left, top, right - 1, bottom - 1), outline=_BOX, width=width)
        for x, y in face.landmarks:
            canvas.circle((x, y), max(1.5, 0.02 * (bottom - top)), fill=_POINT, outline=_EDGE)
        # Above the box; inside of it where there is no room.
        anchor = "lb" if top > letters else "lt"
        text = f"{face.confidence:.2f}"
        canvas.text((left, top), text, _BOX, font, anchor, stroke_width=width, stroke_fill=_EDGE)
    return picture


def draw_pair(pair: Sequence[ImageSource], faces: Sequence[Drawable | None], score: float) -> Image.Image:
    """Both pictures, scaled to the lower one's height, side by side, with the score below."""
    drawn = [draw(image, [face] if face else []) for image, face in zip(pair, faces, strict=True)]
    height = min(each.height for each in drawn)
    scaled = [each.resize((max(1, round(each.width * height / each.height)), height)) for each in drawn]
    letters = max(16, height // 16)
    picture = Image.new("RGB", (sum(each.width for each in scaled), height + 2 * letters), "black")
    picture.paste(scaled[0], (0, 0))
    picture.paste(scaled[1], (scaled[0].width, 0))
    middle = (picture.width / 2, height + letters)
    ImageDraw.Draw(picture).text(middle, f"score {score:.3f}", _BOX, ImageFont.load_default(letters), "mm")
    return picture
