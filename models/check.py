"""The proof that a prepared graph answers a row of a batch as it answers the row alone.

A graph can declare a free batch and still be exported for one row: constants of a reshape, say, then mix the rows up.
Shape inference can't see it; running can.
"""

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from models.errors import BatchMismatchError, GraphMismatchError, first_line

# onnxruntime reports to its makers from the moment it is imported (since 1.29, on Linux too), unless this is set.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

# The largest batch that is tried, by what a graph answers: the one that serving makes by default (detector_batch_size
# and embedder_batch_size of api/settings.py, which this package may not import).
LARGEST: Mapping[str, int] = MappingProxyType({"candidates": 16, "embeddings": 32})
# Up to this size, a batch is tried twice. Graphs were seen to go wrong from two rows on.
SMALL = 4
# Different pictures: more would be run alone for nothing, since their places in a batch change.
PICTURES = 6
# Of two embeddings of length 1: a cosine of 0.9999995. Different pictures can have cosines of 0.99, so that a tenth of
# a neighbour would be lost in a bound of 0.9999; onnxruntime was seen to answer rows of a batch to the last bit.
SAME_DISTANCE = 1e-3
# Different pictures have to be further apart than this, or a tenth of a neighbour would not be seen.
APART = 10 * SAME_DISTANCE
# Weak candidates trade places on the last bits of their scores, so only the best are looked for, in any order.
BEST = 16
SAME_PIXELS = 0.5
SAME_SCORE = 1e-3

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Batch = npt.NDArray[np.intp]  # for each row of a batch, which of the pictures it is


def check_batches(graph: bytes, largest: int | None = None) -> None:
    """Runs a prepared graph on the CPU: each of a few pictures alone, then batches of them of 2, 3, 4, 8, ... `largest`
    rows, in mixed orders, and with blank neighbours, as batches are padded with. `largest` is what serving makes by
    default, unless told.

    GraphMismatchError if it can't be run, answers other shapes or values than it promises, or answers different
    pictures alike, so that nothing could be seen. BatchMismatchError if a row depends on its neighbours or its place:
    embeddings that are further apart than 0.001, or one of the best 16 candidates that is not found again within half a
    pixel, or was not there before.
    """
    try:
        session = session_of(graph)
        taken, given = session.get_inputs()[0], session.get_outputs()[0]
        pictures = patterns(PICTURES, taken.shape[1])
        pictures[0] = 0
        alone = [session.run([given.name], {taken.name: picture[None]})[0] for picture in pictures]
    except Exception as error:  # onnxruntime's errors have no base of their own
        raise GraphMismatchError(f"onnxruntime can't run the prepared graph: {first_line(error)}") from error
    promised = tuple(given.shape[1:])
    _check_alone(alone, given.name, promised)
    same = _same_embedding if given.name == "embeddings" else _same_candidates
    for batch in _batches(largest or LARGEST[given.name]):
        try:
            together = session.run([given.name], {taken.name: pictures[batch]})[0]
        except Exception as error:  # as above
            refusal = _refusal(f"a batch of {len(batch)} can't be run ({first_line(error)})")
            raise BatchMismatchError(refusal) from error
        if together.shape != (len(batch), *promised):
            raise BatchMismatchError(
                _refusal(f"a batch of {len(batch)} is answered with {list(together.shape)} values")
            )
        for row, picture in enumerate(batch):
            # Nobody reads the answer to a blank row.
            if picture != 0 and not same(together[row], alone[picture][0]):
                raise BatchMismatchError(
                    _refusal(f"row {row} of a batch of {len(batch)} gives other {given.name} than the same row alone")
                )


def _check_alone(alone: Sequence[Floats], name: str, promised: tuple[int, ...]) -> None:
    """That the answers to single pictures have the shape that is promised, are numbers, and can be told apart."""
    for answer in alone:
        if answer.shape != (1, *promised) or answer.dtype != np.float32:
            raise GraphMismatchError(
                f"expected {name} to be float32 {[1, *promised]}, found {answer.dtype} {list(answer.shape)}"
            )
        if not np.isfinite(answer).all():
            raise GraphMismatchError(f"the graph answers {name} that are not finite")
    alike = _alike_embedding if name == "embeddings" else _same_candidates
    # A blank picture need not have an embedding.
    if any(alike(one[0], other[0]) for one, other in itertools.combinations(alone[1:], 2)):
        raise GraphMismatchError(
            f"the graph answers different pictures with the same {name}, or all but: doubt its weights, and "
            "`mean` and `scale`"
        )


def session_of(graph: bytes) -> onnxruntime.InferenceSession:
    """A session on the CPU that prints nothing: a failure is raised as well, and told once is enough."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def patterns(count: int, side: int) -> Pixels:
    """Coarse random patterns, uint8 [count, side, side, 3]: to a network they differ far more than plain noise does."""
    coarse = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8)
    patch = -(-side // 8)
    return coarse.repeat(patch, axis=1).repeat(patch, axis=2)[:, :side, :side]


def _refusal(seen: str) -> str:
    return f"{seen}: the graph was exported for single images. Export it with a free batch"


def _batches(largest: int) -> Iterator[Batch]:
    """Of each size, pictures in a mixed order, and one at each end of blank rows; both in one where it is large."""
    random = np.random.default_rng(1)
    # The sizes that serving pads to, and an odd one.
    sizes = {*(1 << power for power in range(1, largest.bit_length())), 3, largest}
    for size in sorted(each for each in sizes if 2 <= each <= largest):
        shown = np.resize(1 + random.permutation(PICTURES - 1), size)
        mixed = random.permutation(shown)
        padded = np.zeros(size, np.intp)
        padded[[0, -1]] = 1, 2
        if size <= SMALL:
            yield mixed
            yield padded
        else:
            mixed[size // 2 : -1] = 0
            yield mixed


def _same_embedding(one: Floats, other: Floats) -> bool:
    return bool(np.linalg.norm(one - other) <= SAME_DISTANCE)


def _alike_embedding(one: Floats, other: Floats) -> bool:
    return bool(np.linalg.norm(one - other) <= APART)


def _same_candidates(one: Floats, other: Floats) -> bool:
    return _best_among(one, other) and _best_among(other, one)


def _best_among(one: Floats, other: Floats) -> bool:
    """Whether each of the best candidates of the one is among all K of the other."""
    apart = np.abs(other[None] - one[:BEST, None])
    scores_alike = apart[:, :, 4] <= SAME_SCORE
    places = np.delete(apart, 4, axis=2)
    return bool((scores_alike & (places <= SAME_PIXELS).all(axis=2)).any(axis=1).all())
