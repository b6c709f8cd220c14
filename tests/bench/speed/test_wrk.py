"""What wrk tells, and what is made of it."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from bench.speed import __main__ as program
from bench.speed.wrk import Load, LoadError, WrkMissingError, load, parse, uncorrected

TOLD = "Running 2s test @ http://127.0.0.1/v1/detect\n  1 threads and 2 connections\n"


def corrected(counts: dict[int, int], expected: int) -> dict[int, int]:
    """As wrk 4 does it to its own figures, for answers that took longer than twice what is expected."""
    counts = dict(counts)
    for us in range(2 * expected, max(counts) + 1):
        count = counts.get(us, 0)
        earlier = us - expected
        while count and earlier > expected:
            counts[earlier] = counts.get(earlier, 0) + count
            earlier -= expected
    return counts


def test_a_load_is_read_from_the_last_line() -> None:
    told = parse(TOLD + "FIGURES 2000000 4 0 0 0 0 1 900000:1 950000:2 1100000:1\n", clients=2)
    assert told == Load(2, 2.0, 4, 1, (900.0, 950.0, 950.0, 1100.0))


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ("", "no figures"),
        ("FIGURES 2000000 4 1 0 0 0 0 900000:4", "1 not connected"),
        ("FIGURES 2000000 4 0 2 0 0 0 900000:4", "2 not read"),
        ("FIGURES 2000000 4 0 0 3 0 0 900000:4", "3 not written"),
        ("FIGURES 2000000 4 0 0 0 4 0 900000:4", "4 timed out"),
        ("FIGURES 2000000 0 0 0 0 0 0", "no request"),
    ],
)
def test_what_went_wrong_is_no_load(figures: str, message: str) -> None:
    with pytest.raises(LoadError, match=message):
        parse(TOLD + figures, clients=2)


def test_the_latencies_are_those_that_were_measured() -> None:
    rng = np.random.default_rng(6)
    for expected in range(100, 900, 20):
        measured = dict(Counter((rng.lognormal(6, 1, 40).astype(int) + 1).tolist()))
        assert uncorrected(corrected(measured, expected), expected=expected) == measured


def test_a_correction_that_reaches_below_the_least_is_not_told_by_wrk() -> None:
    # 2500 stands for 1500 too, which is less than the least that was measured: wrk lists from there on.
    assert uncorrected({2400: 1, 2500: 1}, expected=1000) == {2400: 1, 2500: 1}


def test_without_wrk_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WrkMissingError, match="apt-get install wrk"):
        load("http://127.0.0.1:9/", body=tmp_path / "body", key="k", clients=1, seconds=1)


def test_without_wrk_nothing_is_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["bench.speed", "--only", "start,clients"])
    monkeypatch.setattr(program, "measure", lambda *_: pytest.fail("it measures"))
    with pytest.raises(SystemExit, match="apt-get install wrk"):
        program.main()
