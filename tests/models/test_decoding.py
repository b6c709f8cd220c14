from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from onnx import helper

from models.centerface import centerface
from models.decoding import DECODINGS
from models.errors import GraphMismatchError
from models.tail import Tail, normalisation
from tests.models import references

Floats = npt.NDArray[np.float32]
Decode = Callable[[Floats, Floats, Floats, Floats], Floats]

REFERENCES: dict[str, Callable[[Sequence[Floats], int], Floats]] = {
    "yunet": references.yunet,
    "scrfd": references.scrfd,
    "retinaface": references.retinaface,
}


def run(tail: Tail, **heads: Floats) -> Floats:
    model = helper.make_model(tail.graph(), ir_version=9, opset_imports=[helper.make_opsetid("", 18)])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # constants that only some decodings use; preparation drops them
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    answer: Floats = session.run([tail.output], heads)[0]
    return answer


def random_heads(rows: int, side: int) -> dict[str, Floats]:
    random = np.random.default_rng(side)
    return {
        "heat": random.random((rows, 1, side, side), np.float32),
        "size": random.normal(1, 0.5, (rows, 2, side, side)).astype(np.float32),
        "offset": random.random((rows, 2, side, side), np.float32),
        "points": random.random((rows, 10, side, side), np.float32),
    }


def test_centerface_equals_a_decoding_cell_by_cell(decode_centerface: Decode) -> None:
    heads = random_heads(rows=3, side=16)
    answers = run(centerface(64, 1000), **heads)
    assert answers.shape == (3, 16 * 16, 15)  # there are no more cells than that
    for row, answer in enumerate(answers):
        expected = decode_centerface(*(head[row] for head in heads.values()))
        np.testing.assert_allclose(answer[: len(expected)], expected, rtol=1e-5, atol=1e-4)
        assert not answer[len(expected) :, 4].any()


def test_centerface_keeps_the_best(decode_centerface: Decode) -> None:
    heads = random_heads(rows=1, side=16)
    answer = run(centerface(64, 5), **heads)[0]
    expected = decode_centerface(*(head[0] for head in heads.values()))
    np.testing.assert_allclose(answer, expected[:5], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("decoding", REFERENCES)
@pytest.mark.parametrize("candidates", [50, 10_000])
def test_a_decoding_of_cells_equals_its_authors_cell_by_cell(decoding: str, candidates: int) -> None:
    tail = DECODINGS[decoding](96, candidates)
    random = np.random.default_rng(candidates)
    # Scores of YuNet beyond 0 and 1, which its decoding cuts.
    heads = {name: random.normal(0.5, 0.4, (3, *shape)).astype(np.float32) for name, shape in tail.heads.items()}
    if decoding != "yunet":
        heads = {
            name: random.random(values.shape, np.float32) if name.startswith(("score", "conf")) else values
            for name, values in heads.items()
        }
    answers = run(tail, **heads)
    for row, answer in enumerate(answers):
        expected = REFERENCES[decoding]([head[row] for head in heads.values()], 96)[:candidates]
        assert answer.shape == expected.shape
        np.testing.assert_allclose(answer[:, 4], expected[:, 4], atol=1e-6)
        # Where scores are equal, as 0 and 1 of those that were cut, their order is anybody's.
        distinct = np.diff(expected[:, 4], prepend=2, append=-1) != 0
        alone = distinct[:-1] & distinct[1:]
        assert alone.sum() > 20
        np.testing.assert_allclose(answer[alone], expected[alone], rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("decoding", DECODINGS)
def test_a_decoding_wants_a_canvas_of_whole_strides(decoding: str) -> None:
    with pytest.raises(GraphMismatchError, match="multiple of 32"):
        DECODINGS[decoding](100, 5)


def test_normalisation_gives_unit_vectors_and_leaves_zeros_alone() -> None:
    answer = run(normalisation(2), raw=np.array([[3, 4], [0, 0]], np.float32))
    np.testing.assert_allclose(answer, np.array([[0.6, 0.8], [0, 0]]), rtol=1e-6)
