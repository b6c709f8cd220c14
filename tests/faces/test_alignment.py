import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from skimage.transform import AffineTransform, SimilarityTransform, warp

from faces.alignment import align, letterbox, realign, similarity
from faces.detection import Face, View
from faces.image import Picture
from faces.templates import ARCFACE_SIZE, ARCFACE_TEMPLATE, Template
from models.catalog import describe

Pixels = NDArray[np.uint8]
Points = NDArray[np.float32]
Noise = NDArray[np.float64]

# A template unlike ArcFace's, in a crop of another size.
SQUARE: Template = ((40, 50), (110, 50), (75, 85), (50, 115), (100, 115))

DLIB = describe("dlib-resnet-v1").embedder
assert DLIB is not None
TEMPLATES: list[Template] = [ARCFACE_TEMPLATE, DLIB.template]

# Where CenterFace finds them.
ASTRONAUT = np.array([(202.6, 100.4), (249.2, 103.4), (224.5, 123.8), (202.8, 142.1), (242.6, 144.4)], np.float32)
GRACE_HOPPER = np.array([(223.4, 200.5), (304.5, 194.4), (265.8, 240.9), (232.5, 281.0), (299.5, 275.7)], np.float32)


def placed(scale: float, angle: float, x: float, y: float, template: Template = ARCFACE_TEMPLATE) -> Points:
    """The template's points, scaled and turned (degrees) about their centre, which comes to x, y."""
    points = np.array(template)
    turn = np.deg2rad(angle)
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    moved: NDArray[np.float64] = (points - points.mean(axis=0)) @ matrix.T + (x, y)
    return moved.astype(np.float32)


def face(landmarks: Points, box: tuple[float, float, float, float] | None = None) -> Face:
    (left, top), (right, bottom) = landmarks.min(axis=0), landmarks.max(axis=0)
    return Face(*(box or (float(left), float(top), float(right), float(bottom))), 0.9, landmarks)


def picture(pixels: Pixels) -> Picture:
    return Picture(pixels, pixels.shape[1], pixels.shape[0])


def dots(width: int, height: int, points: Points, radius: float) -> Pixels:
    """A white spot with soft edges at each of the points, on black."""
    image = np.zeros((height, width), np.float32)
    reach = int(4 * radius) + 1
    for x, y in points.tolist():
        left, top = max(0, int(x) - reach), max(0, int(y) - reach)
        part = image[top : int(y) + reach, left : int(x) + reach]
        across = np.arange(part.shape[1]) + left - x
        down = np.arange(part.shape[0]) + top - y
        part += 255 * np.exp(-(across[None] ** 2 + down[:, None] ** 2) / (2 * radius**2))
    return np.repeat(image.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def spot_near(crop: Pixels, x: float, y: float) -> tuple[float, float]:
    """The centre of what is bright within 8 pixels."""
    left, top = round(x) - 8, round(y) - 8
    part = crop[top : top + 17, left : left + 17, 0].astype(np.float64)
    weights = part / part.sum()
    return float((weights.sum(axis=0) * np.arange(17)).sum() + left), float(
        (weights.sum(axis=1) * np.arange(17)).sum() + top
    )


def assert_on_template(crop: Pixels, template: Template, *, within: float = 0.3) -> None:
    for x, y in template:
        assert spot_near(crop, x, y) == pytest.approx((x, y), abs=within)


def assert_equals_scikit_image(source: Points, template: Template) -> None:
    expected = SimilarityTransform.from_estimate(source.astype(np.float64), np.array(template)).params[:2]
    assert similarity(source, template) == pytest.approx(expected, rel=1e-6, abs=1e-6 * abs(expected[:, :2]).max())


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("landmarks", [ASTRONAUT, GRACE_HOPPER])
def test_similarity_of_a_real_face_is_scikit_images(landmarks: Points, template: Template) -> None:
    assert_equals_scikit_image(landmarks, template)
    assert_equals_scikit_image(landmarks * np.float32(100), template)


@given(
    st.sampled_from(TEMPLATES),
    st.tuples(st.floats(-2, 3), st.floats(-180, 180), st.floats(-5000, 33_000), st.floats(-5000, 33_000)),
    arrays(np.float64, (5, 2), elements=st.floats(-15, 15)),
    st.booleans(),
)
def test_similarity_is_scikit_images(
    template: Template, place: tuple[float, float, float, float], noise: Noise, mirrored: bool
) -> None:
    """Of faces of 1 to 100,000 pixels, turned any way, with landmarks by up to a third of a face off, and mirrored."""
    askew = [(-x if mirrored else x, y) for x, y in (np.array(template) + noise).tolist()]
    power, angle, x, y = place
    assert_equals_scikit_image(placed(10**power, angle, x, y, askew), template)


def test_similarity_of_a_mirrored_face_does_not_mirror() -> None:
    source = np.array(ARCFACE_TEMPLATE, np.float32) * (-1, 1)
    matrix = similarity(source.astype(np.float32), ARCFACE_TEMPLATE)
    assert np.linalg.det(matrix[:, :2]) > 0


def test_similarity_undoes_a_turn_a_scale_and_a_shift() -> None:
    source = placed(7, 120, 3000, -40)
    matrix = similarity(source, ARCFACE_TEMPLATE)
    assert source @ matrix[:, :2].T + matrix[:, 2] == pytest.approx(np.array(ARCFACE_TEMPLATE), abs=1e-3)


def test_similarity_of_points_that_coincide_is_zero() -> None:
    matrix = similarity(np.full((5, 2), 7, np.float32), ARCFACE_TEMPLATE)
    assert not matrix[:, :2].any()
    assert np.isfinite(matrix).all()


@pytest.mark.parametrize(
    ("width", "height", "inner"),
    [
        (128, 64, (64, 32)),
        (64, 128, (32, 64)),
        (64, 64, (64, 64)),
        (16, 8, (64, 32)),
        (1, 1, (64, 64)),
        (1, 1000, (1, 64)),
        (1000, 1, (64, 1)),
        (40_000, 20, (64, 1)),
    ],
)
def test_letterbox_fits_the_image_into_the_top_left_corner(width: int, height: int, inner: tuple[int, int]) -> None:
    canvas, view = letterbox(picture(np.full((height, width, 3), 255, np.uint8)), 64)
    assert canvas.shape == (64, 64, 3)
    assert canvas.dtype == np.uint8
    assert view == View(width / inner[0], height / inner[1], 0, 0, width, height, 64)
    assert (canvas[: inner[1], : inner[0]] == 255).all()
    assert canvas.sum() == 255 * 3 * inner[0] * inner[1]


@pytest.mark.parametrize("shrunk", [True, False])
def test_letterbox_keeps_places_and_colours(shrunk: bool) -> None:
    size = 512 if shrunk else 16
    image = np.zeros((size // 2, size, 3), np.uint8)
    image[:, : size // 2] = (250, 0, 0)
    image[: size // 4, size // 2 :] = (0, 0, 250)
    canvas, _ = letterbox(picture(image), 64)
    assert canvas[4:28, 4:28].reshape(-1, 3).tolist() == [[250, 0, 0]] * 24 * 24
    assert canvas[4:12, 36:60].reshape(-1, 3).tolist() == [[0, 0, 250]] * 8 * 24
    assert not canvas[20:, 36:].any()


def test_letterbox_averages_when_it_shrinks() -> None:
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    canvas, _ = letterbox(picture(stripes), 64)
    assert canvas.min() >= 126
    assert canvas.max() <= 129


@pytest.mark.parametrize(
    ("scale", "angle"), [(1, 0), (1, 30), (2.5, -75), (0.5, 180), (1.9, 90), (2.1, 10), (8, 45), (20, 3)]
)
@pytest.mark.parametrize(("template", "size"), [(ARCFACE_TEMPLATE, 112), (SQUARE, 150)])
def test_landmarks_land_on_the_template(scale: float, angle: float, template: Template, size: int) -> None:
    side = int(200 * max(scale, 1))
    landmarks = placed(scale, angle, side / 2 + 0.3, side / 2 - 0.4)
    image = dots(side, side, landmarks, radius=max(1.0, 2 * scale))
    [crop] = align([(picture(image), face(landmarks))], template, size)
    expected = landmarks @ similarity(landmarks, template)[:, :2].T + similarity(landmarks, template)[:, 2]
    assert_on_template(crop, [(x, y) for x, y in expected.tolist()])
    if template is ARCFACE_TEMPLATE:
        assert_on_template(crop, template)


def test_a_large_face_is_averaged_and_does_not_flicker() -> None:
    checks = np.indices((1600, 1600)).sum(axis=0) % 2 * 255
    image = np.repeat(checks.astype(np.uint8)[:, :, None], 3, axis=2)
    first, second = (
        align([(picture(image), face(placed(8, 15, 800 + shift, 800)))], ARCFACE_TEMPLATE, 112)[0].astype(int)
        for shift in (0, 0.5)
    )
    assert abs(first - 127.5)[10:-10, 10:-10].max() < 20
    assert abs(first - second).mean() < 5


@pytest.mark.parametrize("enlarged", [0.5, 1, 2, 4])
@pytest.mark.parametrize(("template", "size"), list(zip(TEMPLATES, [112, 150], strict=True)))
@pytest.mark.parametrize(("name", "found"), [("astronaut", ASTRONAUT), ("grace_hopper", GRACE_HOPPER)])
def test_a_crop_is_what_scikit_image_makes_of_it(
    request: pytest.FixtureRequest, name: str, found: Points, template: Template, size: int, *, enlarged: float
) -> None:
    """Faces of 0.4 to 8.5 pixels for one of the crop's, against two samples a pixel of the picture, averaged.

    In levels, the mean difference is 0.2 to 0.7 in the pictures as they are and up to 2.8 with the grain, which a
    single sample a pixel lets through by 5.5, and no average at all by 13.
    """
    small = request.getfixturevalue(name)
    shape = [round(side * enlarged) for side in small.shape[1::-1]]
    pixels = cv2.resize(small, shape, interpolation=cv2.INTER_CUBIC if enlarged > 1 else cv2.INTER_AREA)
    if enlarged > 1:  # which has no details of its own that a crop could make a wrong use of
        grain = np.random.default_rng(0).integers(-40, 41, pixels.shape)
        pixels = (pixels + grain).clip(0, 255)
    landmarks = ((found + 0.5) * enlarged - 0.5).astype(np.float32)
    matrix = SimilarityTransform.from_estimate(landmarks.astype(np.float64), np.array(template)).params
    finer = max(1, math.ceil(2 / math.hypot(*matrix[:2, 0])))
    to_finer = np.array([[finer, 0, (finer - 1) / 2], [0, finer, (finer - 1) / 2], [0, 0, 1]])
    sampled = warp(  # type: ignore[no-untyped-call]
        pixels.astype(np.float32),
        AffineTransform(np.linalg.inv(to_finer @ matrix)),  # type: ignore[no-untyped-call]
        output_shape=(size * finer, size * finer),
        preserve_range=True,
    )
    expected = sampled.reshape(size, finer, size, finer, 3).mean(axis=(1, 3))
    [crop] = align([(picture(pixels.astype(np.uint8)), face(landmarks))], template, size)
    assert abs(crop - expected).mean() < 3.5


def test_faces_of_several_images_come_in_their_order() -> None:
    images = [np.full((200, 200, 3), grey, np.uint8) for grey in (50, 100, 150)]
    somewhere = face(placed(1, 0, 100, 100))
    crops = align([(picture(image), somewhere) for image in images], ARCFACE_TEMPLATE, 112)
    assert crops.shape == (3, 112, 112, 3)
    assert crops.dtype == np.uint8
    assert [int(crop[56, 56, 0]) for crop in crops] == [50, 100, 150]


@pytest.mark.parametrize("scale", [1, 5])
def test_a_crop_is_black_where_the_image_ends(scale: float) -> None:
    side = 300 * int(scale)
    image = np.full((side, side, 3), 255, np.uint8)
    # The nose on the image's left border: left of it there is nothing, right of it there is.
    [crop] = align([(picture(image), face(placed(scale, 0, 0, side / 2)))], ARCFACE_TEMPLATE, 112)
    assert not crop[:, :50].any()
    assert (crop[10:100, 60:] == 255).all()


@pytest.mark.parametrize(("x", "y"), [(-5000, 100), (100, -5000), (9000, 9000), (-1e7, 1e7)])
@pytest.mark.parametrize("scale", [0.2, 1, 30])
def test_a_face_outside_its_image_is_black(x: float, y: float, scale: float) -> None:
    image = np.full((200, 300, 3), 255, np.uint8)
    [crop] = align([(picture(image), face(placed(scale, 20, x, y)))], ARCFACE_TEMPLATE, 112)
    assert crop.shape == (112, 112, 3)
    assert not crop.any()


@pytest.mark.parametrize("spread", [0, 1e-4, 0.05])
def test_landmarks_that_coincide_leave_the_box_to_go_by(spread: float) -> None:
    image = np.zeros((400, 400, 3), np.uint8)
    image[100:300, 100:200] = (200, 0, 0)
    image[100:300, 200:300] = (0, 0, 200)
    landmarks = placed(spread, 0, 222, 111) if spread else np.full((5, 2), 222, np.float32)
    [crop] = align([(picture(image), face(landmarks, (100, 100, 300, 300)))], ARCFACE_TEMPLATE, 112)
    assert crop[5:107, 5:53].reshape(-1, 3).tolist() == [[200, 0, 0]] * 102 * 48
    assert crop[5:107, 59:107].reshape(-1, 3).tolist() == [[0, 0, 200]] * 102 * 48


@pytest.mark.parametrize(("width", "height"), [(40_000, 80), (80, 40_000)])
def test_a_side_beyond_32767_pixels_is_no_limit_here(width: int, height: int) -> None:
    landmarks = placed(0.5, 0, width - 40, height - 40)
    [crop] = align([(picture(dots(width, height, landmarks, radius=1)), face(landmarks))], ARCFACE_TEMPLATE, 112)
    assert_on_template(crop, ARCFACE_TEMPLATE)


def test_a_face_wider_than_32767_pixels_is_cut_out() -> None:
    image = np.full((50, 40_000, 3), 255, np.uint8)
    [crop] = align([(picture(image), face(placed(1000, 0, 20_000, 25)))], ARCFACE_TEMPLATE, 112)
    assert crop.shape == (112, 112, 3)


def test_realign_is_the_identity_for_arcfaces_own_template(astronaut: Pixels) -> None:
    crop = np.ascontiguousarray(astronaut[:ARCFACE_SIZE, 150 : 150 + ARCFACE_SIZE])
    assert np.array_equal(realign(crop, ARCFACE_TEMPLATE, ARCFACE_SIZE), crop[None])


def test_realign_moves_the_landmarks_to_the_other_template() -> None:
    source = np.array(ARCFACE_TEMPLATE, np.float32)
    [crop] = realign(dots(112, 112, source, radius=1.5), SQUARE, 150)
    assert crop.shape == (150, 150, 3)
    matrix = similarity(source, SQUARE)
    assert_on_template(crop, [(x, y) for x, y in (source @ matrix[:, :2].T + matrix[:, 2]).tolist()])


def test_realign_of_an_aligned_crop_is_nearly_what_aligning_gives(astronaut: Pixels) -> None:
    found = face(placed(1.1, -8, 225, 110))
    [direct] = align([(picture(astronaut), found)], SQUARE, 150)
    [again] = realign(align([(picture(astronaut), found)], ARCFACE_TEMPLATE, 112)[0], SQUARE, 150)
    middle = np.s_[40:110, 40:110]
    assert abs(direct[middle].astype(int) - again[middle].astype(int)).mean() < 4


@pytest.mark.parametrize("side", [1e-3, 1e-30, 1e-310])
def test_a_face_of_next_to_nothing_is_cut_out(side: float) -> None:
    for landmarks in (placed(1, 0, 0, 0), np.full((5, 2), 1e-30, np.float32)):
        [crop] = align(
            [(picture(np.full((50, 50, 3), 255, np.uint8)), face(landmarks, (0, 0, side, side)))], SQUARE, 150
        )
        assert crop.shape == (150, 150, 3)
