import numpy as np
import numpy.typing as npt
import pytest

from models import dlib
from models.errors import WeightsError

Floats = npt.NDArray[np.float32]


def integer(value: int) -> bytes:
    length = (abs(value).bit_length() + 7) // 8
    return bytes([length | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(length, "little")


def text(name: str) -> bytes:
    return integer(len(name)) + name.encode()


def tensor(values: Floats, columns: int = 1) -> bytes:
    shape = (2, values.size // columns, columns, 1, 1)
    return b"".join(map(integer, shape)) + values.astype("<f4").tobytes()


def values(*shape: int) -> Floats:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


CONVOLUTION = values(2 * 3 * 9 + 2)
AFFINE = values(4)
LAYERS = (
    text("loss_metric_2") + integer(-1027) + text("con_4") + tensor(CONVOLUTION) + integer(64)
    + text("affine_") + tensor(AFFINE)
)  # fmt: skip


def test_the_affine_layer_is_folded_into_its_convolution() -> None:
    read = dlib.Weights(LAYERS).convolution(filters=2, channels=3, kernel=3)
    patch = values(3, 3, 3)
    plain = (CONVOLUTION[:54].reshape(2, 3, 3, 3) * patch).sum(axis=(1, 2, 3)) + CONVOLUTION[54:]
    folded = (read.weights * patch).sum(axis=(1, 2, 3)) + read.biases
    np.testing.assert_allclose(folded, AFFINE[:2] * plain + AFFINE[2:], rtol=1e-5)


def test_a_matrix_comes_in_rows() -> None:
    matrix = values(4, 3)
    data = text("fc_2") + integer(3) + integer(4) + tensor(matrix, columns=3)
    np.testing.assert_array_equal(dlib.Weights(data).matrix(4, 3), matrix)


@pytest.mark.parametrize("end", [0, 1, 20, 27, 60, len(LAYERS) - 30, len(LAYERS) - 1])
def test_a_truncated_file_is_told_from_a_whole_one(end: int) -> None:
    with pytest.raises(WeightsError, match="truncated"):
        dlib.Weights(LAYERS[:end]).convolution(filters=2, channels=3, kernel=3)


def test_other_sizes_are_refused() -> None:
    with pytest.raises(WeightsError, match=r"begins with \[2, 56, 1, 1, 1\], expected \[2, 112, 1, 1, 1\]"):
        dlib.Weights(LAYERS).convolution(filters=4, channels=3, kernel=3)


def test_weights_that_are_no_numbers_are_refused() -> None:
    broken = CONVOLUTION.copy()
    broken[5] = np.nan
    with pytest.raises(WeightsError, match="not finite"):
        dlib.Weights(text("con_4") + tensor(broken)).convolution(filters=2, channels=3, kernel=3)


@pytest.mark.parametrize("data", [b"", b"\x08\x04", b"<!DOCTYPE html>" * 100, bytes(10_000)])
def test_a_file_of_another_kind_is_refused(data: bytes) -> None:
    with pytest.raises(WeightsError, match="not the weights of dlib's face recognition ResNet"):
        dlib.network(data)


def test_blocks_of_the_published_network() -> None:
    blocks = list(dlib._blocks())
    assert 1 + 2 * len(blocks) == 29
    assert [filters for filters, stride in blocks if stride == 2] == [64, 128, 256, 256]
