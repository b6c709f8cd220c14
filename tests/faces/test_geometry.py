"""Geometry with whatever landmarks, boxes and candidates there are."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import ExifTags, Image

from faces.alignment import align, letterbox, reduction_for
from faces.detection import Face, Order, View, read_candidates, read_faces, select, suppress, usable
from faces.image import REDUCTIONS, Picture, decode, read_header
from faces.templates import ARCFACE_TEMPLATE

settings.register_profile("geometry", deadline=None, max_examples=60)
settings.load_profile("geometry")

NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.floats(-2000, 2000, width=32)
LANDMARKS = arrays(np.float32, (5, 2), elements=NUMBERS) | NUMBERS.map(lambda x: np.full((5, 2), x, np.float32))
SIDES = st.integers(1, 300)
CANVAS = 64


@st.composite
def pictures(draw: st.DrawFn) -> Picture:
    """Of any size, as it is or reduced, with what reaches beyond it on either side."""
    width, height, reduction = draw(SIDES), draw(SIDES), draw(st.sampled_from([1, *REDUCTIONS]))
    columns, rows = -(-width // reduction), -(-height // reduction)
    beyond = (columns * reduction - width, rows * reduction - height)
    left, top = (draw(st.sampled_from([0, each])) for each in beyond)
    return Picture(np.full((rows, columns, 3), 200, np.uint8), width, height, reduction, left, top)


@st.composite
def faces(draw: st.DrawFn, width: int, height: int) -> Face:
    left, right = sorted(draw(st.tuples(*[st.floats(0, width)] * 2).filter(lambda pair: pair[0] != pair[1])))
    top, bottom = sorted(draw(st.tuples(*[st.floats(0, height)] * 2).filter(lambda pair: pair[0] != pair[1])))
    return Face(left, top, right, bottom, 0.9, draw(LANDMARKS))


@given(pictures(), st.data())
def test_any_face_of_any_picture_is_cut_out(picture: Picture, data: st.DataObject) -> None:
    face = data.draw(faces(picture.width, picture.height))
    crops = align([(picture, face)], ARCFACE_TEMPLATE, 112)
    assert crops.shape == (1, 112, 112, 3)
    assert crops.dtype == np.uint8
    assert reduction_for(face, ARCFACE_TEMPLATE, 112) in (1, *REDUCTIONS)


@given(pictures())
def test_a_canvas_and_its_picture_agree_about_every_place(picture: Picture) -> None:
    canvas, view = letterbox(picture, CANVAS)
    assert canvas.shape == (CANVAS, CANVAS, 3)
    shown = canvas[:, :, 0] > 0
    columns, rows = int(shown[0].sum()), int(shown[:, 0].sum())
    assert max(columns, rows) == CANVAS
    # What is shown begins and ends where the full picture does, also of a reduced one whose pixels reach beyond it.
    assert (view.left, view.top) == (0, 0)
    assert columns * view.across == pytest.approx(picture.width)
    assert rows * view.down == pytest.approx(picture.height)


@given(st.integers(300, 900), st.integers(300, 900), st.sampled_from(REDUCTIONS), st.booleans(), st.booleans())
def test_a_canvas_shows_of_a_reduced_picture_what_it_shows_of_the_full_one(
    width: int, height: int, reduction: int, mirrored: bool, upside_down: bool
) -> None:
    """Also where the reduction divides no side, and what the last pixels show beyond the picture lies on any side."""
    columns, rows = -(-width // reduction), -(-height // reduction)
    left = columns * reduction - width if mirrored else 0
    top = rows * reduction - height if upside_down else 0
    x, y = np.arange(columns * reduction) - left, np.arange(rows * reduction) - top
    whole = np.stack([*np.broadcast_arrays(x[None] / 4 + 4, y[:, None] / 4 + 4), np.full((y.size, x.size), 9)], axis=2)
    full = whole[top : top + height, left : left + width]
    reduced = whole.reshape(rows, reduction, columns, reduction, 3).mean(axis=(1, 3))
    pictures = (
        Picture(np.ascontiguousarray(full.round(), np.uint8), width, height),
        Picture(np.ascontiguousarray(reduced.round(), np.uint8), width, height, reduction, left, top),
    )
    (expected, view), (canvas, same) = (letterbox(each, 40) for each in pictures)
    assert view == same
    # A level is four pixels of the picture; the canvas has one for each 7 to 23.
    assert abs(canvas.astype(int) - expected).max() <= 1


def faces_of(candidates: NDArray[np.float32], view: View) -> list[Face]:
    rows = read_candidates(candidates, view, score_threshold=0.5)
    return read_faces(suppress([rows], iou_threshold=0.3), width=view.width, height=view.height)


@given(pictures(), st.tuples(*[st.floats(0, 1)] * 4))
def test_a_box_of_the_picture_comes_back_from_the_canvas(picture: Picture, shares: tuple[float, ...]) -> None:
    _, view = letterbox(picture, CANVAS)
    left, right = sorted(share * view.width for share in shares[:2])
    top, bottom = sorted(share * view.height for share in shares[2:])
    x1, x2 = ((x + view.left) / view.across for x in (left, right))
    y1, y2 = ((y + view.top) / view.down for y in (top, bottom))
    row = np.array([[x1, y1, x2, y2, 0.9, *[x1, y1] * 5]], np.float32)
    found = faces_of(row, view)
    if right - left > 0.01 and bottom - top > 0.01:
        [face] = found
        assert (face.left, face.top, face.right, face.bottom) == pytest.approx((left, top, right, bottom), abs=1e-3)
        assert face.landmarks == pytest.approx(np.array([[left, top]] * 5), abs=1e-3)


@given(
    arrays(np.float32, st.tuples(st.integers(0, 12), st.just(15)), elements=NUMBERS | st.floats(0, 1, width=32)),
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 14), st.sampled_from([np.nan, np.inf, -np.inf])), max_size=3),
    pictures(),
)
def test_candidates_are_refused_or_are_faces_inside_the_picture(
    candidates: NDArray[np.float32], broken: list[tuple[int, int, float]], picture: Picture
) -> None:
    for row, column, value in broken:
        if row < len(candidates):
            candidates[row, column] = value
    if not usable(candidates, 0.5):
        assert not np.isfinite(candidates).all()
        return
    _, view = letterbox(picture, CANVAS)
    found = faces_of(candidates, view)
    assert len(found) <= (candidates[:, 4] > 0.5).sum()
    for face in found:
        assert 0 <= face.left < face.right <= picture.width
        assert 0 <= face.top < face.bottom <= picture.height
        assert face.landmarks.shape == (5, 2)
        assert face.landmarks.dtype == np.float32
    for order in Order:
        best = select(found, order, 3, width=picture.width, height=picture.height)
        assert len(best) == min(3, len(found))
    if found:
        align([(picture, face) for face in found], ARCFACE_TEMPLATE, 112)


@pytest.mark.parametrize("value", [3.4e38, -3.4e38])
@pytest.mark.parametrize("columns", [[0], [0, 2], [2, 3], [5], list(range(5, 15))])
def test_numbers_as_large_as_there_are_do_no_harm(value: float, columns: list[int]) -> None:
    row = np.array([[0, 0, 50, 50, 0.9, *range(10)]], np.float32)
    row[0, columns] = value
    picture = Picture(np.zeros((100, 100, 3), np.uint8), 400, 400, 4)
    _, view = letterbox(picture, CANVAS)
    for face in faces_of(row, view):
        assert np.isfinite(face.landmarks).all()
        assert align([(picture, face)], ARCFACE_TEMPLATE, 112).shape == (1, 112, 112, 3)


def jpeg(image: Image.Image, orientation: int, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif, quality=95, subsampling=0, **options)
    return file.getvalue()


@given(st.integers(64, 200), st.integers(64, 200), st.sampled_from(REDUCTIONS), st.integers(1, 8))
def test_a_reduced_picture_shows_what_the_full_one_does(
    width: int, height: int, reduction: int, orientation: int
) -> None:
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    pixels = np.stack([across, down, np.full_like(across, 100)], axis=2).astype(np.uint8)
    file = jpeg(Image.fromarray(pixels), orientation)
    full, reduced = (decode(file, max_pixels=10**6, reduction=each) for each in (1, reduction))
    assert (reduced.width, reduced.height) == (full.width, full.height)
    assert reduced.pixels.flags.c_contiguous
    rows, columns = reduced.pixels.shape[:2]
    for y, x in ((0, 0), (0, columns - 1), (rows - 1, 0), (rows // 2, columns // 2), (rows - 1, columns - 1)):
        left, top = max(0, x * reduction - reduced.left), max(0, y * reduction - reduced.top)
        right, bottom = (x + 1) * reduction - reduced.left, (y + 1) * reduction - reduced.top
        part = full.pixels[top:bottom, left:right].reshape(-1, 3)
        # Of a block that the picture's edge cuts, the file's maker chose the rest.
        assert len(part) > 0
        whole = len(part) == reduction**2
        assert reduced.pixels[y, x] == pytest.approx(part.mean(axis=0), abs=4 if whole else reduction)


@pytest.mark.parametrize(
    ("side", "reduction"), [(639, 1), (1279, 1), (1280, 2), (2559, 2), (2560, 4), (5119, 4), (5120, 8)]
)
def test_a_jpeg_is_reduced_as_far_as_the_side_asked_for_allows(side: int, reduction: int) -> None:
    for size in ((side, 100), (100, side)):
        file = io.BytesIO()
        Image.new("L", size).save(file, "JPEG")
        assert read_header(file.getvalue(), max_pixels=10**7).reduction(640) == reduction
    file = io.BytesIO()
    Image.new("L", (side, 100)).save(file, "PNG")
    assert read_header(file.getvalue(), max_pixels=10**7).reduction(640) == 1
