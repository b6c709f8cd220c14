from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from faces.detection import Face, Order, View, read_candidates, read_faces, select, suppress, usable, without_parts


def row(box: Sequence[float], score: float, points: Sequence[float] = range(10)) -> list[float]:
    return [*box, score, *points]


def read(
    *rows: list[float], scale: float = 1, size: tuple[int, int] = (1000, 500), threshold: float = 0.5, iou: float = 0.3
) -> list[Face]:
    candidates = np.array(rows, np.float32).reshape(len(rows), 15)
    return read_from(candidates, View(1 / scale, 1 / scale, 0, 0, *size, size=1000), threshold=threshold, iou=iou)


def read_from(*looks: Any, threshold: float = 0.5, iou: float = 0.3) -> list[Face]:
    """looks: candidates and the view that they are of, in turns."""
    views = looks[1::2]
    rows = [read_candidates(*each, score_threshold=threshold) for each in zip(looks[::2], views, strict=True)]
    return read_faces(suppress(rows, iou_threshold=iou), width=views[0].width, height=views[0].height)


def box(face: Face) -> tuple[float, float, float, float]:
    return face.left, face.top, face.right, face.bottom


def face(left: float, top: float, right: float, bottom: float, confidence: float) -> Face:
    return Face(left, top, right, bottom, confidence, np.zeros((5, 2), np.float32))


def test_no_candidates_are_no_faces() -> None:
    assert read() == []


def test_a_face_is_all_that_its_row_says() -> None:
    [found] = read(row((10, 20, 40, 60), 0.75))
    assert box(found) == (10, 20, 40, 60)
    assert found.confidence == 0.75
    assert found.landmarks.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert found.area == 30 * 40
    assert found.distance_to(25, 43) == 3


def test_scores_up_to_the_threshold_are_dropped() -> None:
    rows = [row((100 * i, 0, 100 * i + 50, 50), score) for i, score in enumerate([0.25, 0.5, 0.50001, 0.9])]
    assert [round(each.confidence, 4) for each in read(*rows)] == [0.9, 0.5]
    assert len(read(*rows, threshold=0.1)) == 4
    assert read(*rows, threshold=0.95) == []


def test_faces_come_by_falling_confidence() -> None:
    rows = [row((100 * i, 0, 100 * i + 50, 50), score) for i, score in enumerate([0.6, 0.9, 0.7, 0.8])]
    assert [each.left for each in read(*rows)] == [100, 300, 200, 0]


def test_of_boxes_that_overlap_too_much_the_best_is_kept() -> None:
    # Shares of intersection and union: first and second 1/3, second and third 1/3, first and third 0.
    rows = [row((0, 0, 10, 10), 0.7), row((5, 0, 15, 10), 0.9), row((10, 0, 20, 10), 0.8)]
    assert [each.left for each in read(*rows, iou=0.3)] == [5]
    assert [each.left for each in read(*rows, iou=0.35)] == [5, 10, 0]


def test_a_suppressed_box_suppresses_nothing() -> None:
    rows = [row((0, 0, 10, 10), 0.9), row((5, 0, 15, 10), 0.8), row((10, 0, 20, 10), 0.7)]
    assert [each.left for each in read(*rows, iou=0.3)] == [0, 10]


@pytest.mark.parametrize("scale", [0.5, 0.064, 4.0])
def test_canvas_pixels_become_image_pixels(scale: float) -> None:
    points = np.arange(10) * 16
    [found] = read(row((16, 32, 48, 64), 0.9, points.tolist()), scale=scale, size=(5000, 5000))
    assert box(found) == pytest.approx((16 / scale, 32 / scale, 48 / scale, 64 / scale))
    assert found.landmarks == pytest.approx(points.reshape(5, 2) / scale)


def test_boxes_are_cut_at_the_border_and_landmarks_are_not() -> None:
    [found] = read(row((-10, -20, 2000, 3000), 0.9, [-5.0] * 10), size=(640, 480))
    assert box(found) == (0, 0, 640, 480)
    assert found.landmarks.tolist() == [[-5, -5]] * 5


@pytest.mark.parametrize(
    "outside",
    [(-50, 10, -10, 40), (640, 10, 700, 40), (10, -50, 40, 0), (10, 480, 40, 500), (10, 10, 10, 40), (40, 10, 10, 40)],
)
def test_a_box_without_a_pixel_of_the_image_is_dropped(outside: tuple[float, float, float, float]) -> None:
    kept = row((100, 100, 150, 150), 0.6)
    assert [each.left for each in read(row(outside, 0.9), kept, size=(640, 480))] == [100]


def test_a_view_says_where_a_canvas_lies_in_its_picture() -> None:
    candidates = np.array([row((10, 20, 30, 40), 0.9, [10, 20] * 5)], np.float32)
    [found] = read_from(candidates, View(8, 4, 3, 5, 1000, 1000, 250))
    assert box(found) == (77, 75, 237, 155)
    assert found.landmarks.tolist() == [[77, 75]] * 5
    assert found.landmarks.dtype == np.float32


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 3, 4, 5, 14])
def test_an_answer_that_is_no_numbers_is_not_usable(value: float, column: int) -> None:
    answer = np.array([row((0, 0, 50, 50), 0.9), row((1, 0, 51, 50), 0.8)], np.float32)
    assert usable(answer, 0.5)
    answer[1, column] = value
    # A score of minus infinity is no face's.
    assert usable(answer, 0.5) is (column == 4 and value == -np.inf)


def test_what_is_wrong_in_a_row_that_is_no_face_does_not_matter() -> None:
    weak = row((0, 0, 50, 50), 0.2)
    weak[2] = np.inf
    assert usable(np.array([weak, row((1, 0, 51, 50), 0.8)], np.float32), 0.5)
    assert not usable(np.full((1024, 15), np.nan, np.float32), 0.5)


def named(faces: list[Face], found: list[Face]) -> str:
    return "".join("abcdef"[faces.index(each)] for each in found)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (Order.CONFIDENCE, "bcda"),
        (Order.AREA, "dbca"),
        (Order.LEFT_TO_RIGHT, "acbd"),
        (Order.CENTRE, "cbda"),
    ],
)
def test_each_order_ranks_as_the_contract_says(order: Order, expected: str) -> None:
    faces = [
        face(0, 0, 10, 10, 0.6),
        face(60, 20, 80, 40, 0.9),
        face(40, 40, 55, 55, 0.8),
        face(70, 60, 100, 100, 0.7),
    ]
    assert named(faces, select(faces, order, 10, width=100, height=100)) == expected


@pytest.mark.parametrize("order", list(Order))
def test_ties_go_by_confidence_and_then_from_left_to_right(order: Order) -> None:
    # All of one size, and as far from the centre as each other; two pairs share their left border.
    faces = [
        face(60, 0, 80, 20, 0.5),
        face(20, 0, 40, 20, 0.5),
        face(20, 80, 40, 100, 0.7),
        face(60, 80, 80, 100, 0.6),
    ]
    expected = "cbda" if order is Order.LEFT_TO_RIGHT else "cdba"
    assert named(faces, select(faces, order, 10, width=100, height=100)) == expected


@pytest.mark.parametrize(("limit", "count"), [(1, 1), (2, 2), (3, 3), (750, 3)])
def test_the_limit_keeps_the_first(limit: int, count: int) -> None:
    faces = [face(i, 0, i + 1, 1, 0.5 + i / 10) for i in range(3)]
    found = select(faces, Order.CONFIDENCE, limit, width=9, height=9)
    assert [each.left for each in found] == [2, 1, 0][:count]


def test_selecting_leaves_the_faces_as_they_were() -> None:
    faces = [face(i, 0, i + 1, 1, i / 10) for i in range(3)]
    before = list(faces)
    select(faces, Order.CONFIDENCE, 1, width=9, height=9)
    assert faces == before


def test_orders_have_the_contracts_numbers() -> None:
    assert [Order(number).name for number in range(4)] == ["CONFIDENCE", "AREA", "LEFT_TO_RIGHT", "CENTRE"]


def test_a_thousand_candidates_are_read() -> None:
    rows = np.zeros((1024, 15), np.float32)
    places = np.arange(1024)
    rows[:, 0], rows[:, 1] = places % 32 * 10, places // 32 * 10
    rows[:, 2:4] = rows[:, :2] + 10
    rows[:, 4] = 0.9
    view = View(1, 1, 0, 0, 320, 320, 320)
    found = read_from(rows, view)
    assert len(found) == 1024


@pytest.mark.parametrize(
    ("box", "score", "kept"),
    [
        ((110, 150, 190, 195), 0.8, False),  # the lower half of it, as a tile shows it
        ((150, 150, 250, 250), 0.8, True),  # half inside
        ((165, 110, 225, 170), 0.8, True),  # a little more
        ((155, 110, 215, 170), 0.8, False),  # three quarters
        ((110, 150, 190, 195), 0.95, True),  # surer than the whole face
        ((50, 50, 260, 260), 0.8, True),  # around it
    ],
)
def test_a_part_of_a_face_is_no_face(box: Sequence[float], score: float, kept: bool) -> None:
    rows = np.array([row((100, 100, 200, 200), 0.9), row((400, 400, 500, 500), 0.6), row(box, score)])
    rows = rows[np.argsort(-rows[:, 4])]
    left = without_parts(rows)
    assert len(left) == (3 if kept else 2)
    assert (np.diff(left[:, 4]) <= 0).all()
    assert without_parts(rows[:0]).shape == (0, 15)


def test_of_a_great_many_candidates_the_surest_count() -> None:
    places = np.arange(9000)
    rows = np.zeros((9000, 15))
    rows[:, 0], rows[:, 1] = places % 100 * 10, places // 100 * 10
    rows[:, 2:4] = rows[:, :2] + 10
    rows[:, 4] = 0.5 + places / 20_000
    best = suppress([rows[::2], rows[1::2]], iou_threshold=0.3)
    assert len(best) == 8192
    assert best[-1, 4] == rows[9000 - 8192, 4]


def test_landmarks_that_coincide_stand_in_every_turn() -> None:
    candidates = np.array([row((10, 10, 50, 50), 0.9, [30] * 10)], np.float32)
    assert len(read_candidates(candidates, View(1, 1, 0, 0, 64, 64, 64, upright=True), score_threshold=0.5)) == 1
