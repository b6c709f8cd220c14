"""The proof that a prepared graph answers a row of a batch as it answers the row alone.

A graph can declare a free batch and still be exported for one row: constants of a reshape, say, then mix the rows up.
Shape inference can't see it; running can.
"""

import os

import numpy as np
import numpy.typing as npt

from models.errors import BatchMismatchError, GraphMismatchError

# onnxruntime reports to its makers from the moment it is imported (since 1.29, on Linux too), unless this is set.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

ROWS = 3
SAME_COSINE = 0.9999
# Weak candidates trade places on the last bits of their scores, so only the best are looked for, in any order.
BEST = 16
SAME_PIXELS = 0.5
SAME_SCORE = 1e-3

Floats = npt.NDArray[np.float32]


def check_batches(graph: bytes) -> None:
    """Runs a prepared graph on the CPU: three rows at once, then each alone.

    GraphMismatchError if it can't be run or answers other shapes or values than it promises, BatchMismatchError if a
    row depends on its neighbours: embeddings with a cosine below 0.9999, or one of the best 16 candidates that is not
    found again within half a pixel.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # a failure is raised as well, and told once is enough
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        taken, given = session.get_inputs()[0], session.get_outputs()[0]
        rows = _pictures(taken.shape[1])
        together = session.run([given.name], {taken.name: rows})[0]
        alone = [session.run([given.name], {taken.name: row[None]})[0] for row in rows]
    except Exception as error:  # onnxruntime's errors have no base of their own
        raise GraphMismatchError(f"onnxruntime can't run the prepared graph: {error}") from error
    promised = tuple(given.shape[1:])
    for answer, count in ((together, ROWS), *((answer, 1) for answer in alone)):
        if answer.shape != (count, *promised) or answer.dtype != np.float32:
            raise GraphMismatchError(
                f"expected {given.name} to be float32 {[count, *promised]}, found {answer.dtype} {list(answer.shape)}"
            )
    same = _same_embedding if given.name == "embeddings" else _same_candidates
    for index, answer in enumerate(alone):
        if not np.isfinite(answer).all():
            raise GraphMismatchError(f"the graph answers {given.name} that are not finite")
        if not same(together[index], answer[0]):
            raise BatchMismatchError(
                f"row {index} of a batch of {ROWS} gives other {given.name} than the same row alone: "
                "the graph was exported for single images. Export it with a free batch"
            )


def _pictures(side: int) -> npt.NDArray[np.uint8]:
    """uint8 [3, side, side, 3]: coarse random patterns, which differ far more to a network than plain noise does."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (ROWS, 8, 8, 3), np.uint8)
    patch = -(-side // 8)
    return coarse.repeat(patch, axis=1).repeat(patch, axis=2)[:, :side, :side]


def _same_embedding(one: Floats, other: Floats) -> bool:
    return bool(one @ other >= SAME_COSINE)


def _same_candidates(together: Floats, alone: Floats) -> bool:
    best = alone[:BEST]
    # Every one of the best against all K rows.
    apart = np.abs(together[None] - best[:, None])
    scores_alike = apart[:, :, 4] <= SAME_SCORE
    places = np.delete(apart, 4, axis=2)
    return bool((scores_alike & (places <= SAME_PIXELS).all(axis=2)).any(axis=1).all())
