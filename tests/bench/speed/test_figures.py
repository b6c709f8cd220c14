"""Medians and ratios of rounds that take turns."""

import pytest

from bench.speed.figures import Spread, against_neighbours


def test_a_spread_tells_the_median_and_both_ends() -> None:
    assert Spread.of([0.9, 0.5, 0.6]) == Spread(0.6, 0.5, 0.9)
    assert Spread.of([0.9, 0.5, 0.6]).text() == "0.60 (0.50 to 0.90)"
    assert Spread.of([1, 2]).text(1) == "1.5 (1.0 to 2.0)"


def test_each_value_is_held_against_what_was_measured_around_it() -> None:
    # The machine gets slower: the ratio stays.
    assert against_neighbours([45, 35, 25], [50, 40, 30, 20]) == [1.0, 1.0, 1.0]


def test_values_without_a_neighbour_are_refused() -> None:
    with pytest.raises(ValueError, match="2 values lie between 3, and not 2"):
        against_neighbours([1, 2], [1, 2])
