"""How figures are judged."""

import json
import math
from pathlib import Path

import pytest

from bench.report import Report, percentile, slope


def test_a_program_whose_figures_are_reached_ends_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = Report("bench.x")
    told.at_most("part", "errors", 0, 0)
    told.at_least("part", "rate", 2, 1)
    told.tell("part", "time", 3.14159)
    with pytest.raises(SystemExit) as end:
        told.finish(tmp_path / "kept.json")
    assert end.value.code == 0
    assert "3.142" in capsys.readouterr().out
    assert [each["reached"] for each in json.loads((tmp_path / "kept.json").read_text())["figures"]] == [
        True,
        True,
        None,
    ]


@pytest.mark.parametrize("value", [1.5, math.nan, math.inf])
def test_a_figure_that_is_missed_or_could_not_be_measured_ends_it_with_status_1(value: float) -> None:
    told = Report("bench.x")
    told.at_most("part", "errors", value, 1)
    with pytest.raises(SystemExit) as end:
        told.finish(None)
    assert end.value.code == 1


def test_json_knows_no_nan() -> None:
    told = Report("bench.x")
    told.tell("part", "p99", math.nan)
    assert json.loads(told.as_json(), parse_constant=pytest.fail)["figures"][0]["value"] is None


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert [percentile(values, p) for p in (1, 50, 99, 100)] == [1, 50, 99, 100]
    assert percentile([7.0], 50) == 7
    assert math.isnan(percentile([], 50))


def test_a_slope_is_that_of_the_line() -> None:
    assert slope([0, 1, 2, 3], [1, 3, 5, 7]) == pytest.approx(2)
    assert slope([0, 1, 2], [5, 5, 5]) == 0
    assert math.isnan(slope([1, 1], [1, 2]))
