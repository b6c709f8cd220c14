"""The bad inputs: always the same of the same seed, and all kinds of them."""

from collections import Counter

from bench.cases import Sender
from bench.hostile import KINDS, Maker

SENDER = Sender("the-key", "RkJGVA==" * 30)
MAKER = Maker(7, SENDER)


def test_a_case_is_made_again_by_its_number_alone() -> None:
    several = [MAKER.case(number) for number in range(300)]
    assert [MAKER.case(number) for number in reversed(range(300))] == several[::-1]
    assert Maker(8, SENDER).case(0) != MAKER.case(0)


def test_every_kind_comes_and_says_what_must_be_answered() -> None:
    cases = [MAKER.case(number) for number in range(1500)]
    kinds = Counter(case.kind.partition(":")[0] for case in cases)
    assert kinds.keys() == {
        "key", "json", "form", "size", "base64", "image", "content", "feature", "parameter", "path"
    }  # fmt: skip
    assert sum(weight for weight, _ in KINDS) == 1000
    assert all(case.statuses or case.left for case in cases)
    assert all(status < 500 for case in cases for status in case.statuses)
