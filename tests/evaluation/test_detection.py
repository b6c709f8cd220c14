"""On pictures with so few faces that every number was worked out by hand."""

import numpy as np
import pytest

from evaluation.detection import SIZES, Found, PrecisionRecall, overlaps, precision_recall

Box = tuple[float, float, float, float]


def square(left: float, side: float = 40) -> Box:
    return left, 0, left + side, side


def picture(found: list[tuple[Box, float]], truths: list[Box], ignored: tuple[int, ...] = ()) -> Found:
    return Found(
        boxes=np.array([box for box, _ in found], np.float64).reshape(-1, 4),
        confidences=np.array([confidence for _, confidence in found], np.float64),
        truths=np.array(truths, np.float64).reshape(-1, 4),
        ignored=np.isin(np.arange(len(truths)), ignored),
    )


def measured(*pictures: Found, sizes: str = "all") -> PrecisionRecall:
    found = precision_recall(pictures, SIZES[sizes])
    assert found is not None
    return found


def test_average_precision_of_five() -> None:
    # Three faces at 0, 100 and 200. By confidence: .9 hits the first, .8 nothing, .7 the second, .6 the second again,
    # which is taken, .5 the third.
    found = [
        (square(0), 0.9),
        (square(500), 0.8),
        (square(100), 0.7),
        (square(102), 0.6),
        (square(200), 0.5),
    ]
    curve = measured(picture(found, [square(0), square(100), square(200)]))
    np.testing.assert_allclose(curve.precision, [1, 1 / 2, 2 / 3, 2 / 4, 3 / 5])
    np.testing.assert_allclose(curve.recall, [1 / 3, 1 / 3, 2 / 3, 2 / 3, 1])
    # Raised: 1, 2/3, 2/3, 3/5, 3/5. Recall rises by a third at the first, the third and the fifth.
    assert curve.average == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)


def test_precision_is_raised_to_the_highest_behind_it() -> None:
    # A false alarm, then both faces: precision 0, 1/2, 2/3 at a recall of 0, 1/2, 1. 2/3 holds at all of them.
    found = [(square(500), 0.9), (square(0), 0.8), (square(100), 0.7)]
    assert measured(picture(found, [square(0), square(100)])).average == pytest.approx(2 / 3)


def test_precision_and_recall_above_a_confidence() -> None:
    curve = measured(picture([(square(0), 0.9), (square(500), 0.8)], [square(0), square(100)]))
    assert curve.above(0.9) == (None, 0)  # more than, as the service has it
    assert curve.above(0.85) == (1, 0.5)
    assert curve.above(0.5) == (0.5, 0.5)


def test_pictures_are_judged_each_by_itself_and_counted_together() -> None:
    one = picture([(square(0), 0.6)], [square(0)])
    other = picture([(square(0), 0.9)], [square(200)])
    curve = measured(one, other)
    # .9 is a false alarm, then .6 a hit: half a precision at a recall of a half.
    assert curve.confidences.tolist() == [0.9, 0.6]
    assert curve.average == pytest.approx(0.25)


def test_equal_confidences_are_one_threshold() -> None:
    curve = measured(picture([(square(500), 0.9), (square(0), 0.9)], [square(0)]))
    assert (curve.confidences.tolist(), curve.precision.tolist(), curve.recall.tolist()) == ([0.9], [0.5], [1.0])


def test_half_an_overlap_is_enough_and_less_is_not() -> None:
    truth: Box = (0, 0, 10, 10)
    assert overlaps(np.array([(0, 0, 10, 5.0)]), np.array([truth])).tolist() == [[0.5]]
    assert measured(picture([((0, 0, 10, 5), 0.9)], [truth])).average == 1
    assert measured(picture([((0, 0, 10, 4.99), 0.9)], [truth])).average == 0


def test_overlaps_of_boxes_that_meet_partly_or_not_at_all() -> None:
    # Two squares of 2 shifted by one both ways share 1 of 7; what only touches, or lies apart, shares nothing.
    boxes = np.array([(0, 0, 2, 2.0)])
    others = np.array([(1, 1, 3, 3.0), (2, 0, 4, 2), (5, 5, 6, 6), (0, 0, 0, 0)])
    np.testing.assert_allclose(overlaps(boxes, others), [[1 / 7, 0, 0, 0]])


def test_what_is_found_takes_the_free_face_that_it_overlaps_most() -> None:
    # Both found overlap both faces: the surer one takes the nearer one, and the other is left for the second.
    found = [(square(2), 0.9), (square(3), 0.8)]
    curve = measured(picture(found, [square(0), square(6)]))
    assert curve.recall.tolist() == [0.5, 1.0]


def test_ignored_faces_count_neither_way() -> None:
    found = [(square(100), 0.9), (square(101), 0.8), (square(0), 0.7)]
    curve = measured(picture(found, [square(0), square(100), square(200)], ignored=(1, 2)))
    # Neither what is found of the second, twice, nor the third that is not found.
    assert (curve.faces, curve.confidences.tolist(), curve.average) == (1, [0.7], 1.0)


def test_a_face_that_counts_comes_before_one_that_is_ignored() -> None:
    # It overlaps the ignored face wholly, and the other well enough.
    curve = measured(picture([(square(0), 0.9)], [square(0), square(5)], ignored=(0,)))
    assert (curve.faces, curve.average) == (1, 1.0)


def test_sizes() -> None:
    # Faces of 20, 40 and 200 pixels, all found, and false alarms of 20 and of 200.
    found = [
        (square(0, 20), 0.9),
        (square(100, 40), 0.8),
        (square(300, 200), 0.7),
        (square(600, 20), 0.95),
        (square(900, 200), 0.95),
    ]
    one = picture(found, [square(0, 20), square(100, 40), square(300, 200)])
    assert measured(one, sizes="medium").average == 1
    for size in ("small", "large"):
        curve = measured(one, sizes=size)
        assert (curve.faces, curve.confidences.tolist(), curve.average) == (
            1,
            [0.95, 0.9 if size == "small" else 0.7],
            0.5,
        )
    assert measured(one).faces == 3


def test_nothing_to_find_and_nothing_found() -> None:
    assert precision_recall([picture([(square(0), 0.9)], [])], SIZES["all"]) is None
    curve = measured(picture([], [square(0)]))
    assert (curve.average, curve.above(0.5)) == (0, (None, 0))
