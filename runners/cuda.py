"""A graph on a GPU."""

import logging

import numpy as np
from numpy.typing import NDArray

from runners.engine import Engine
from runners.onnx import Session
from threads import Threads

log = logging.getLogger("facebento.runners")


class CudaEngine(Engine):
    """Runs rows as a batch, padded to one of a few sizes that were all run once before: CUDA tunes its convolutions
    anew for every shape it meets.
    """

    def __init__(self, session: Session, max_batch: int) -> None:
        """max_batch: rows at a time."""
        super().__init__(session.placement)
        self._session = session
        self._buckets = buckets(max_batch)
        self._threads = Threads(1, "cuda")
        for size in self._buckets:
            answers = session.run(np.zeros((size, *session.row), np.uint8))
        self._failed = np.full_like(answers[:1], np.nan)

    async def run(self, rows: NDArray[np.uint8]) -> NDArray[np.float32]:
        failures: list[Exception] = []
        largest = self._buckets[-1]
        answers = [
            await self._threads.run(self._batch, rows[i : i + largest], failures) for i in range(0, len(rows), largest)
        ]
        self._note(len(rows), failures)
        return answers[0] if len(answers) == 1 else np.concatenate(answers)

    def _batch(self, rows: NDArray[np.uint8], failures: list[Exception]) -> NDArray[np.float32]:
        try:
            return self._padded(rows)
        except Exception as error:  # noqa: BLE001  onnxruntime's own are of many unrelated kinds
            if len(rows) == 1:
                failures.append(error)
                return self._failed
            # It may have been too large for the memory that is left on the GPU.
            log.warning("a batch of %d rows could not be run, each is tried alone: %s", len(rows), error)
            return np.concatenate([self._batch(rows[i : i + 1], failures) for i in range(len(rows))])

    def _padded(self, rows: NDArray[np.uint8]) -> NDArray[np.float32]:
        size = next(bucket for bucket in self._buckets if bucket >= len(rows))
        padding = np.zeros((size - len(rows), *self._session.row), np.uint8)
        return self._session.run(np.concatenate([rows, padding]) if len(padding) else rows)[: len(rows)]


def buckets(max_batch: int) -> list[int]:
    """The batch sizes that are run on a GPU: powers of two up to max_batch, and max_batch itself."""
    return [*(1 << k for k in range(max_batch.bit_length()) if 1 << k < max_batch), max_batch]
