"""Where a detector looks, and that what it finds there is told in the picture's own pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from faces.detection import View, read_candidates
from faces.image import Picture
from faces.looks import Look, Tile, closer, farther, levels, mosaics, patches, patches_across, tiles, turned, whole

SIZE = 64
Rows = NDArray[np.float64]


def cover(
    width: int, height: int, size: int = 640, *, face: int = 24, smallest: float = 12, most: int = 200
) -> list[Tile]:
    sides = levels(width, height, size, face=face, smallest=smallest, most=most)
    return tiles(width, height, sides, size, face=face)


def picture(width: int, height: int) -> Picture:
    """Each place has a colour of its own, as far as 8 bits go."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    pixels = np.stack([x % 256, y % 256, (x // 8 + y // 8) % 256], axis=-1).astype(np.uint8)
    return Picture(pixels, width, height)


def row(box: tuple[float, float, float, float], score: float = 0.9) -> NDArray[np.float32]:
    """A candidate whose landmarks lie in the box as in an upright face."""
    left, top, right, bottom = box
    share = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
    points = share * (right - left, bottom - top) + (left, top)
    return np.array([[*box, score, *points.ravel()]], np.float32)


def seen(view: View, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """A box of the picture on the canvas, upright."""
    left, top, right, bottom = box
    return (
        (left + view.left) / view.across,
        (top + view.top) / view.down,
        (right + view.left) / view.across,
        (bottom + view.top) / view.down,
    )


def read(view: View, box: tuple[float, float, float, float]) -> Rows:
    return read_candidates(row(box), view, score_threshold=0.5)


sides = st.integers(1, 3000)


@given(st.tuples(sides, sides), st.sampled_from([64, 320, 640]), st.integers(2, 100), st.integers(4, 30), st.data())
def test_a_face_is_whole_in_some_tile_or_large_enough_farther_away(
    extent: tuple[int, int], size: int, face: int, smallest: int, data: st.DataObject
) -> None:
    """Of every size from the smallest on, and wherever it lies: so large on a canvas that the detector finds it."""
    width, height = extent
    found = cover(width, height, size, face=face, smallest=smallest, most=10**9 if size == 640 else 2000)
    closest = min((tile.side for tile in found), default=max(width, height))
    wanted = min(face, size // 8)  # on the canvas
    least = max(smallest, wanted * closest / size)  # where there are as many tiles as there may be
    if least > min(width, height):
        return
    side = data.draw(st.floats(least, min(width, height)))
    left = data.draw(st.floats(0, width - side))
    top = data.draw(st.floats(0, height - side))
    shown = [
        size / tile.side
        for tile in found
        if tile.left <= left
        and tile.top <= top
        and left + side <= tile.left + tile.side
        and top + side <= tile.top + tile.side
    ]
    # 1.25: from where on tiles are worth it. Sides and overlaps are whole pixels.
    assert max([size / max(width, height), *shown]) * side > wanted / 1.25 * 0.97 - 0.2


@given(sides, sides, st.sampled_from([64, 640]), st.integers(2, 640), st.integers(4, 1000))
def test_tiles_lie_in_the_picture_and_are_not_too_many(
    width: int, height: int, size: int, face: int, smallest: int
) -> None:
    found = cover(width, height, size, face=face, smallest=smallest, most=50)
    assert len(found) <= 50
    assert len(set(found)) == len(found)
    for tile in found:
        assert tile.side > 0
        assert 0 <= tile.left <= max(0, width - tile.side)
        assert 0 <= tile.top <= max(0, height - tile.side)


def test_a_large_picture_has_tiles_of_two_levels() -> None:
    found = cover(4000, 3000)
    assert sorted({tile.side for tile in found}) == [320, 1131]  # 12 pixels become 24; the level between is their mean
    assert [sum(tile.side == side for tile in found) for side in (320, 1131)] == [15 * 11, 4 * 3]


def test_a_picture_that_the_canvas_shows_as_well_has_no_tiles() -> None:
    assert cover(320, 200) == []
    assert cover(390, 200) == []  # 1.6 times as large; 2 would be little more
    assert cover(500, 200) != []


@pytest.mark.parametrize("tile", [Tile(0, 0, 40), Tile(30, 20, 40), Tile(160, 60, 40), Tile(150, 50, 100)])
def test_a_tile_is_shown_and_read_where_it_lies(tile: Tile) -> None:
    image = picture(200, 100)
    look = closer(image, [tile], SIZE)
    [[view]] = look.views
    right, bottom = min(200, tile.left + tile.side), min(100, tile.top + tile.side)
    box = (tile.left + 10, tile.top + 12, right - 10, bottom - 8)
    [found] = read(view, seen(view, box))
    np.testing.assert_allclose(found[:4], box, atol=1e-3)
    # The canvas shows the very pixels: those of the tile's middle, which are enlarged or shrunk evenly.
    x, y = (tile.left + right) // 2, (tile.top + bottom) // 2
    at = seen(view, (x + 0.5, y + 0.5, x, y))
    np.testing.assert_allclose(look.canvases[0, int(at[1]), int(at[0])].astype(int)[:2], (x, y), atol=2)
    if right - tile.left < tile.side:
        columns = round((right - tile.left) * SIZE / tile.side)
        assert not look.canvases[0, :, columns:].any()


@pytest.mark.parametrize(
    ("tile", "box", "cut"),
    [
        (Tile(50, 30, 40), (50.5, 40, 60, 50), True),  # at its left end
        (Tile(50, 30, 40), (60, 30.5, 70, 50), True),
        (Tile(50, 30, 40), (60, 40, 89.5, 50), True),
        (Tile(50, 30, 40), (60, 40, 70, 69.5), True),
        (Tile(50, 30, 40), (53, 33, 87, 67), False),
        (Tile(0, 0, 40), (-5, -5, 20, 20), False),  # the picture ends there, and the face goes on
        (Tile(160, 60, 40), (180, 80, 205, 105), False),
        (Tile(160, 60, 40), (160.5, 80, 190, 95), True),
    ],
)
def test_what_a_tile_cuts_is_left_to_others(tile: Tile, box: tuple[float, float, float, float], cut: bool) -> None:
    [[view]] = closer(picture(200, 100), [tile], SIZE).views
    assert len(read(view, seen(view, box))) == (0 if cut else 1)


def test_a_tile_with_nothing_in_it_is_passed_over() -> None:
    pixels = np.full((100, 200, 3), 90, np.uint8)
    pixels[:40, :40] += np.random.default_rng(0).integers(0, 12, (40, 40, 3), np.uint8)  # as a sensor's noise
    pixels[:, 80:120] += (np.arange(100, dtype=np.uint8) // 4)[:, None, None]  # as a sky
    pixels[70:80, 170:180] = 110
    image = Picture(pixels, 200, 100)
    look = closer(image, [Tile(0, 0, 40), Tile(80, 20, 40), Tile(150, 60, 40)], SIZE)
    assert len(look.canvases) == 1
    assert [view.left for [view] in look.views] == [-150]
    assert closer(image, [Tile(80, 20, 40)], SIZE).canvases.shape == (0, SIZE, SIZE, 3)


def test_from_farther_away_the_picture_is_a_quarter_as_large() -> None:
    near = whole(picture(200, 100), SIZE)
    far = farther(near)
    [[view]] = far.views
    assert not far.canvases[0, 16:].any()
    assert not far.canvases[0, :, 16:].any()
    np.testing.assert_allclose(
        far.canvases[0, :8, :16].astype(float),
        near.canvases[0, :32].reshape(8, 4, 16, 4, 3).mean(axis=(1, 3)),
        atol=0.51,
    )
    [found] = read(view, (4, 2, 12, 6))
    np.testing.assert_allclose(found[:4], (50, 25, 150, 75))


@pytest.mark.parametrize("turns", range(4))
def test_a_turned_canvas_is_read_where_it_lay(turns: int) -> None:
    image = picture(200, 100)
    look = turned(whole(image, SIZE))
    [view] = look.views[turns]
    assert (view.turns, view.upright) == (turns, True)
    # A bright spot of the upright canvas, wherever it went.
    marked = Look(np.zeros((1, SIZE, SIZE, 3), np.uint8), [[view]])
    marked.canvases[0, 5:9, 20:30] = 255
    rows, columns = np.nonzero(turned(marked).canvases[turns, :, :, 0])
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    [found] = read(view, box)
    np.testing.assert_allclose(found[:4], np.array([20, 5, 30, 9]) * 200 / 64)


@pytest.mark.parametrize(
    ("lean", "counts"), [(0, True), (50, True), (-50, True), (70, False), (-70, False), (180, False)]
)
def test_of_four_turns_each_has_its_own_faces(lean: float, counts: bool) -> None:
    [candidate] = row((10, 10, 50, 50))
    turn = np.exp(1j * np.radians(lean))
    points = (candidate[5::2] + 1j * candidate[6::2] - (30 + 30j)) * turn + (30 + 30j)
    candidate[5::2], candidate[6::2] = points.real, points.imag
    view = View(1, 1, 0, 0, SIZE, SIZE, SIZE, upright=True)
    assert len(read_candidates(candidate[None], view, score_threshold=0.5)) == (1 if counts else 0)


def test_signs_of_faces_are_looked_at_together_where_they_are_near() -> None:
    boxes = [(100, 100, 112, 114), (104, 103, 116, 117), (300, 200, 320, 220), (-30, 50, -10, 70), (101, 101, 103, 103)]
    signs = np.concatenate([row(box).astype(np.float64) for box in [*boxes, (10, 10, 61, 61)]])
    found = patches(signs, 400, 300, largest=50, most=10)
    # The second lies well inside the first one's patch; the fourth outside the picture; the fifth is another size, and
    # the last one no smaller on its tile than it would be in a patch.
    assert [(tile.left, tile.top, tile.side) for tile in found] == [(78, 79, 56), (270, 170, 80), (98, 98, 8)]
    assert patches(signs, 400, 300, largest=50, most=1) == found[:1]


@pytest.mark.parametrize(
    ("size", "face", "across"), [(640, 28, 3), (640, 24, 4), (320, 28, 2), (640, 96, 1), (64, 28, 1)]
)
def test_a_patch_enlarges_its_face_to_what_is_found_as_a_rule(size: int, face: int, across: int) -> None:
    assert patches_across(size, face) == across
    assert across == 1 or size / across / 4 > 1.4 * face


@given(st.lists(st.tuples(st.integers(0, 140), st.integers(0, 40), st.integers(10, 60)), min_size=1, max_size=30))
def test_each_patch_of_a_mosaic_is_read_by_itself(places: list[tuple[int, int, int]]) -> None:
    image = picture(200, 100)
    wanted = [Tile(*place) for place in places]
    look = mosaics(image, wanted, 63, across=3)
    assert len(look.canvases) == len(look.views) == -(-len(wanted) // 9)
    for number, tile in enumerate(wanted):
        canvas, place = divmod(number, 9)
        view = look.views[canvas][place]
        x, y = tile.left + tile.side / 2, tile.top + tile.side / 2
        box = seen(view, (x - 2, y - 2, x + 2, y + 2))
        at = look.canvases[canvas, round((box[1] + box[3]) / 2), round((box[0] + box[2]) / 2)]
        np.testing.assert_allclose(at[:2].astype(float), (x, y), atol=1 + tile.side / 21)
        # What is found in one place of the canvas is of no other patch.
        found = [read(other, box) for other in look.views[canvas]]
        assert [len(each) for each in found] == [int(other is view) for other in look.views[canvas]]
        np.testing.assert_allclose(found[place][0, :4], (x - 2, y - 2, x + 2, y + 2), atol=1e-3)
