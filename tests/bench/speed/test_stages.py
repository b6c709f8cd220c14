"""Where the time of a request goes, and how large batches got."""

import pytest

from bench.speed.device import grown
from bench.speed.requests import STAGES, where

LINES = [
    {"duration_ms": 20.0, "stages_ms": {"receive": 1.0, "decode": 4.0, "detect": 10.0}},
    {"duration_ms": 30.0, "stages_ms": {"receive": 3.0, "decode": 4.0, "detect": 14.0, "embed": 4.0}},
]


def test_means_of_stages_and_what_is_in_none_of_them() -> None:
    told = dict(zip([*STAGES, "between", "around", "all"], where(LINES, 28.0), strict=True))
    assert {name: ms for name, ms in told.items() if ms} == {
        "receive": 2.0, "decode": 4.0, "detect": 12.0, "embed": 2.0, "between": 5.0, "around": 3.0, "all": 28.0
    }  # fmt: skip


def test_a_log_that_tells_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no request"):
        where([], 1.0)


def test_batches_that_came_meanwhile_by_their_size() -> None:
    before = {"1.0": 5.0, "2.0": 5.0, "4.0": 6.0, "+Inf": 6.0}
    after = {"1.0": 6.0, "2.0": 6.0, "4.0": 10.0, "+Inf": 10.0}
    assert grown(before, after) == {"1": 0.25, "4": 0.75}
    assert grown({}, after) == {"1": 0.6, "4": 0.4}
    assert grown(after, after) == {}
    assert grown({}, {}) == {}
