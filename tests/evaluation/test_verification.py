"""On lists so short that every number was worked out by hand."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluation import verification
from evaluation.verification import Roc

# By falling cosine: S .9, S .8, S .7, D .65, S .6, D .4, S .3, D .2, D .1, D 0. Five of each kind.
SAME = [0.9, 0.8, 0.7, 0.6, 0.3]
DIFFERENT = [0.65, 0.4, 0.2, 0.1, 0.0]


def listed(same: list[float], different: list[float]) -> tuple[verification.Floats, NDArray[np.bool_]]:
    return np.array([*same, *different]), np.array([True] * len(same) + [False] * len(different))


def curve(same: list[float], different: list[float]) -> Roc:
    return verification.roc(*listed(same, different))


def test_the_roc_has_a_point_for_each_threshold_that_judges_otherwise() -> None:
    roc = curve(SAME, DIFFERENT)
    np.testing.assert_allclose(roc.cosines[1:-1], [0.85, 0.75, 0.675, 0.625, 0.5, 0.35, 0.25, 0.15, 0.05])
    assert roc.cosines[0] > 0.9  # none
    assert roc.cosines[-1] == 0.0  # all
    np.testing.assert_array_equal(roc.accepted_same, [0, 1, 2, 3, 3, 4, 4, 5, 5, 5, 5])
    np.testing.assert_array_equal(roc.accepted_different, [0, 0, 0, 0, 1, 1, 2, 2, 3, 4, 5])


def test_the_threshold_itself_is_accepted() -> None:
    at = verification.rates(*listed(SAME, DIFFERENT), 0.6)
    assert (at.tar, at.far, at.accuracy) == (0.8, 0.2, 0.8)
    above = verification.rates(*listed(SAME, DIFFERENT), 0.6000001)
    assert (above.tar, above.far, above.accuracy) == (0.6, 0.2, 0.7)


def test_the_lowest_threshold_of_a_far() -> None:
    # A fifth of five is one false accept, .65: the next, .4, must not pass, and halfway to .6 is .5.
    assert verification.at_far(curve(SAME, DIFFERENT), 0.2) == 0.5
    # Two fifths are .65 and .4; .2 must not pass, .3 may.
    assert verification.at_far(curve(SAME, DIFFERENT), 0.4) == 0.25
    # Anything between the two is the first.
    assert verification.at_far(curve(SAME, DIFFERENT), 0.39) == 0.5


def test_a_far_below_one_pair_is_not_stated() -> None:
    assert verification.at_far(curve(SAME, DIFFERENT), 0.19) is None
    ten = curve(SAME, [*DIFFERENT, -0.1, -0.2, -0.3, -0.4, -0.5])
    assert verification.at_far(ten, 0.1) == 0.5
    assert verification.at_far(ten, 0.01) is None


def test_a_far_is_not_reached_from_above_where_pairs_are_equal() -> None:
    # Both of .4 pass or none does: of the two that a half would allow only .65.
    assert verification.at_far(curve([0.9, 0.5], [0.65, 0.4, 0.4, 0.1]), 0.5) == pytest.approx(0.45)


def test_a_share_that_binary_numbers_miss_counts_in_full() -> None:
    assert 0.29 * 100 < 29
    different = [n / 200 for n in range(100)]
    at = verification.at_far(curve([0.9], different), 0.29)
    assert at is not None
    assert sum(each >= at for each in different) == 29


def test_the_equal_error_rate_at_a_point_of_the_roc() -> None:
    # At .5 one of five of either kind is wrong: .65 and .3.
    assert verification.equal_error(curve(SAME, DIFFERENT)) == pytest.approx((0.2, 0.5))


def test_the_equal_error_rate_between_two_points() -> None:
    # S .8, D .7, S .6, D .5, S .4, D .3, D .1. At .55 FAR 1/4, FRR 1/3; at .45 FAR 1/2, FRR 1/3. FRR stays, so
    # that they meet at 1/3; at .55 they are a twelfth apart, at .45 a sixth.
    rate, at = verification.equal_error(curve([0.8, 0.6, 0.4], [0.7, 0.5, 0.3, 0.1]))
    assert rate == pytest.approx(1 / 3)
    assert at == pytest.approx(0.55)


def test_the_equal_error_rate_of_kinds_that_are_apart() -> None:
    assert verification.equal_error(curve([0.9, 0.8], [0.4, 0.3])) == pytest.approx((0, 0.6))


def test_the_equal_error_rate_of_cosines_that_say_nothing() -> None:
    rate, _ = verification.equal_error(curve([0.5, 0.5], [0.5, 0.5]))
    assert rate == 0.5


def test_the_area_counts_the_pairs_in_order() -> None:
    # Of five different ones .9, .8 and .7 are above all, .6 above four, .3 above three: 22 of 25.
    assert verification.area(*listed(SAME, DIFFERENT)) == pytest.approx(22 / 25)
    # .5 equals one and is above the other: one and a half of two.
    assert verification.area(*listed([0.5], [0.5, 0.1])) == 0.75
    assert verification.area(*listed([0.1], [0.5, 0.9])) == 0


def test_the_area_is_the_one_under_the_curve() -> None:
    random = np.random.default_rng(5)
    same, different = random.normal(0.6, 0.2, 200).round(2), random.normal(0.4, 0.2, 300).round(2)
    roc = curve(same.tolist(), different.tolist())
    below = np.trapezoid(roc.tar, roc.far)
    assert verification.area(*listed(same.tolist(), different.tolist())) == pytest.approx(float(below))


def test_the_best_threshold_of_several_is_the_middle_one() -> None:
    # Right are 5 + n: .85 6, .75 7, .675 8, .625 7, .5 8, .35 7, .25 8, .15 7. Eight at .675, .5 and .25.
    assert verification.best(curve(SAME, DIFFERENT)) == 0.5


def test_accuracy_is_measured_where_the_threshold_was_not_chosen() -> None:
    # Fold 0: S .9, D .2. Fold 1: S .6, D .7.
    # For fold 0, chosen on fold 1: accept none, 1 right; .65, none right; .6 accepts all, 1 right. Of none and all the
    # second. On fold 0 .6 has both right.
    # For fold 1, chosen on fold 0: .55 has both right. On fold 1 it takes both for one person: half.
    cosines, same = np.array([0.9, 0.2, 0.6, 0.7]), np.array([True, False, True, False])
    found = verification.cross_validated(cosines, same, np.array([0, 0, 1, 1]))
    assert found.accuracies == (1.0, 0.5)
    assert found.cosines == pytest.approx((0.6, 0.55))
    assert found.mean == 0.75
    # A quarter off each, over 2 - 1: sqrt(2 / 16).
    assert found.standard_deviation == pytest.approx(math.sqrt(1 / 8))


def test_folds_keep_neighbours_together_and_both_kinds_in_proportion() -> None:
    same = np.array([True, False] * 20 + [False] * 20)
    folds = verification.folds_of(same)
    assert folds is not None
    assert np.bincount(folds[same]).tolist() == [2] * 10
    assert np.bincount(folds[~same]).tolist() == [4] * 10
    assert folds[same].tolist() == sorted(folds[same].tolist())


@pytest.mark.parametrize(("same", "different", "folds"), [(20, 3, 3), (2, 9, 2), (12, 10, 10)])
def test_there_are_fewer_folds_where_there_are_few_pairs(same: int, different: int, folds: int) -> None:
    made = verification.folds_of(np.array([True] * same + [False] * different))
    assert made is not None
    assert set(made.tolist()) == set(range(folds))


def test_one_pair_of_a_kind_makes_no_folds() -> None:
    assert verification.folds_of(np.array([True, False, False])) is None


def test_the_interval_of_a_share() -> None:
    # Wilson's of 8 of 10: (0.8 + 0.19207 ± 1.95996 sqrt(0.016 + 0.0096036)) / 1.384146.
    assert verification.wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    # Of 0 of 10 it ends at z^2 / (10 + z^2).
    assert verification.wilson(0, 10) == pytest.approx((0, 3.84146 / 13.84146), abs=1e-5)
    assert verification.wilson(10, 10) == pytest.approx((10 / 13.84146, 1), abs=1e-5)
