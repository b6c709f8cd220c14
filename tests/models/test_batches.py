"""Every model of the catalog, at every size of a batch that serving pads to with its default settings."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from api.settings import Settings
from models.catalog import catalog
from runners.cuda import buckets
from tests.models import originals
from tests.models.sessions import session_of

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

LARGEST = {role: int(Settings.model_fields[f"{role}_batch_size"].default) for role in ("detector", "embedder")}


def pictures(count: int, side: int) -> Pixels:
    coarse = np.random.default_rng(side).integers(0, 256, (count, 10, 10, 3), np.uint8)
    return coarse.repeat(-(-side // 10), axis=1).repeat(-(-side // 10), axis=2)[:, :side, :side]


def best_among(one: Floats, other: Floats) -> bool:
    """To half a pixel and 0.001 of the score. Candidates of the same score, to the last bits, may trade places."""
    apart = np.abs(other[None, :64] - one[:16, None])
    apart[:, :, 4] *= 500
    return bool((apart <= 0.5).all(axis=2).any(axis=1).all())


@pytest.mark.parametrize("model_id", catalog())
def test_each_row_of_a_batch_equals_the_row_alone(model_id: str, original_models: Path | None) -> None:
    description = catalog()[model_id]
    graph, kind = originals.graph(description, original_models)
    originals.tell(description, kind)
    session = session_of(graph)
    [taken] = session.get_inputs()

    def run(rows: Pixels) -> Floats:
        answers: Floats = session.run(None, {taken.name: rows})[0]
        return answers

    shown = pictures(3, description.input.size)
    alone = np.concatenate([run(picture[None]) for picture in shown])
    assert not np.allclose(alone[0], alone[1], atol=1e-3)  # or a row in the wrong place would not be seen
    blank = np.zeros_like(shown[:1])
    random = np.random.default_rng(0)
    for size in buckets(LARGEST[description.role]):
        # In any order, with the same and with other neighbours, and with the rows that a batch is padded with.
        order = np.resize(random.permutation(len(shown)), size)
        used = size if size in {1, 2, 4} else size - size // 4
        together = run(np.concatenate([shown[order[:used]], blank.repeat(size - used, axis=0)]))
        assert together.shape == (size, *alone.shape[1:])
        for answer, picture in zip(together, order[:used], strict=False):
            if description.role == "embedder":
                assert np.linalg.norm(answer - alone[picture]) <= 1e-3
            else:
                assert best_among(alone[picture], answer)
                assert best_among(answer, alone[picture])
