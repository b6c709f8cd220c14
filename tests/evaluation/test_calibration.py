"""The score mapping that an evaluation gives."""

import numpy as np
import pytest

from evaluation.calibration import LEAST_STEEPNESS, MOST_STEEPNESS, measure, steepness
from evaluation.errors import MeasurementError
from evaluation.journal import Answer
from evaluation.measure import measure_pairs
from evaluation.pairs import Pair
from evaluation.report import PairsEvaluation
from faces.feature import ScoreMapping

FINGERPRINT = "ab" * 16
# Ten of two people below .5, three above; four of one person, one of them below .55.
SAME = [0.9, 0.8, 0.7, 0.52]
DIFFERENT = [0.6, 0.55, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.0]


def evaluation(same: list[float], different: list[float]) -> PairsEvaluation:
    cosines = [*((each, True) for each in same), *((each, False) for each in different)]
    answers = {f"{n}": Answer.of(np.array([c, np.sqrt(1 - c**2)], np.float32)) for n, (c, _) in enumerate(cosines)}
    pairs = [Pair("one", f"{number}", kind, fold=None) for number, (_, kind) in enumerate(cosines)]
    return measure_pairs(
        pairs,
        answers | {"one": Answer.of(np.array([1, 0], np.float32))},
        ScoreMapping(0.9, 4),
        facebento="1.0",
        data="fourteen pairs",
        detector="finder:1",
        embedder="teller:1",
        fingerprint=FINGERPRINT,
    )


def test_the_operating_point_is_that_of_the_equal_error_rate() -> None:
    # Falling: S .9 .8 .7, D .6 .55, S .52, D .5. At .535 FAR 2/10, FRR 1/4; at .51 FAR 2/10, FRR 0. They
    # meet at 2/10, and at .535 they are nearer to each other.
    found = measure(evaluation(SAME, DIFFERENT), fingerprint=FINGERPRINT)
    assert found.score.cosine == pytest.approx(0.535)
    assert found.chosen == "the equal error rate, 20.00%"
    assert (found.data, found.same_pairs, found.different_pairs) == ("fourteen pairs", 4, 10)
    assert found.score.score(found.score.cosine) == 0.5


def test_the_operating_point_of_a_far_and_of_a_cosine() -> None:
    # One of ten may pass, .6; .55 may not: halfway to .6.
    far = measure(evaluation(SAME, DIFFERENT), fingerprint=FINGERPRINT, far=0.1)
    assert far.score.cosine == pytest.approx(0.575)
    assert far.chosen == "a FAR of 0.1"
    cosine = measure(evaluation(SAME, DIFFERENT), fingerprint=FINGERPRINT, cosine=0.3)
    assert (cosine.score.cosine, cosine.chosen) == (0.3, "a cosine of 0.3")


def test_the_table_holds_the_operating_point_and_those_of_the_fars() -> None:
    found = measure(evaluation(SAME, DIFFERENT), fingerprint=FINGERPRINT)
    chosen, strict = found.points
    assert (chosen.cosine, chosen.far, chosen.tar, chosen.accuracy) == pytest.approx((0.535, 0.2, 0.75, 11 / 14))
    assert (strict.cosine, strict.far, strict.tar, strict.accuracy) == pytest.approx((0.575, 0.1, 0.75, 12 / 14))


def test_the_steepness_is_the_likeliest() -> None:
    from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]  # noqa: PLC0415  takes seconds

    random = np.random.default_rng(3)
    same, different = random.normal(0.6, 0.15, 400).clip(-1, 0.99), random.normal(0.3, 0.15, 900).clip(-1, 0.99)

    def unlikelihood(s: float) -> float:
        score = np.vectorize(ScoreMapping(0.45, float(s)).score)
        # As Platt has it: not quite 1 and 0. Both kinds weigh the same.
        ones, others = score(same), score(different)
        return float(
            -(401 / 402 * np.log(ones) + 1 / 402 * np.log(1 - ones)).mean()
            - (1 / 902 * np.log(others) + 901 / 902 * np.log(1 - others)).mean()
        )

    expected = minimize_scalar(unlikelihood, bounds=(1, 16), method="bounded", options={"xatol": 1e-6})
    assert steepness(same, different, 0.45) == pytest.approx(float(expected.x), abs=1e-3)


def test_the_score_is_the_share_of_pairs_of_one_person() -> None:
    # Of which the same number of either kind lies at each of two distances: three of four, one of four.
    near, far = 0.82, 0.28  # distances 0.6 and 1.2; d0 between them, where the odds are even
    d0 = 1 - (0.6 * 1.2) / 2  # cosine of the geometric mean of both
    same, different = np.array([near] * 3000 + [far] * 1000), np.array([near] * 1000 + [far] * 3000)
    mapping = ScoreMapping(d0, steepness(same, different, d0))
    assert mapping.score(near) == pytest.approx(0.75, abs=0.001)
    assert mapping.score(far) == pytest.approx(0.25, abs=0.001)


def test_the_steepness_stays_within_bounds() -> None:
    apart = np.array([0.95] * 5000), np.array([0.85] * 5000)
    assert steepness(*apart, 0.9) == MOST_STEEPNESS
    few = steepness(np.array([0.999]), np.array([-0.9]), 0.5)
    assert LEAST_STEEPNESS <= few < 4
    # The wrong way round, and no distance at all.
    assert steepness(np.array([0.1]), np.array([0.9]), 0.5) == LEAST_STEEPNESS
    assert LEAST_STEEPNESS <= steepness(np.array([1.0, 1.0]), np.array([-1.0]), 0.5) <= MOST_STEEPNESS


def test_one_of_another_embedder_is_refused() -> None:
    with pytest.raises(MeasurementError, match=f"measured with teller:1.*{FINGERPRINT}.*cdcd"):
        measure(evaluation(SAME, DIFFERENT), fingerprint="cd" * 16)


def test_a_far_that_the_pairs_cannot_tell_is_refused() -> None:
    with pytest.raises(MeasurementError, match=r"a FAR of 0.01 takes at least 100 pairs of two people, .* has 10"):
        measure(evaluation(SAME, DIFFERENT), fingerprint=FINGERPRINT, far=0.01)


def test_pairs_that_tell_nothing_are_refused() -> None:
    with pytest.raises(MeasurementError, match="is the list right"):
        measure(evaluation(DIFFERENT, SAME), fingerprint=FINGERPRINT)


def test_without_an_answer_for_pairs_of_both_kinds_there_is_none() -> None:
    none = evaluation(SAME, DIFFERENT).model_copy(update={"answered": None})
    with pytest.raises(MeasurementError, match="no pairs of both kinds"):
        measure(none, fingerprint=FINGERPRINT)


def test_a_threshold_above_all_is_refused() -> None:
    # Two people look exactly alike: the lowest threshold that refuses both accepts nobody.
    alike = evaluation([1.0, 1.0, 0.9], [1.0, 1.0, *DIFFERENT[:8]])
    with pytest.raises(MeasurementError, match="no pair is accepted there"):
        measure(alike, fingerprint=FINGERPRINT, far=0.1)
