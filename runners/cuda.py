"""A graph on a GPU."""

import asyncio
import logging
import queue
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.errors import first_line
from runners.engine import Engine
from runners.errors import DeviceUnavailableError
from runners.onnx import Session, pinned
from threads import Threads

log = logging.getLogger("facebento.runners")

IN_FLIGHT = 2  # batches: while one is computed, the other one is put together and copied


class CudaEngine(Engine):
    """Runs rows as a batch, padded to one of a few sizes that were all run once before: the first run of a size finds
    its convolutions' plans and its memory.
    """

    def __init__(self, sessions: Mapping[int, Session]) -> None:
        """sessions: for each size of a batch, one that takes it. Raises DeviceUnavailableError where they can't run."""
        self._sessions = dict(sorted(sessions.items()))
        self.largest, widest = [*self._sessions.items()][-1]
        super().__init__(widest.placement)
        self._threads = Threads(IN_FLIGHT, "cuda")
        self._buffers: queue.SimpleQueue[NDArray[np.uint8]] = queue.SimpleQueue()
        for _ in range(IN_FLIGHT):
            self._buffers.put(pinned((self.largest, *widest.row), self.placement.device))
        # The largest first: what it leaves of the device's memory is the others', and where it is too little, the start
        # fails at once.
        try:
            for size in reversed(self._sessions):
                answers = self.answer(np.zeros((size, *widest.row), np.uint8))
        except Exception as error:  # onnxruntime's own are of many unrelated kinds
            raise DeviceUnavailableError(
                f"{self.placement.device} was asked for, and can't run a batch of {size}: {first_line(error)}. See in "
                "nvidia-smi whether its driver fits and its memory is free, make FACEBENTO_DETECTOR_BATCH_SIZE and "
                "FACEBENTO_EMBEDDER_BATCH_SIZE smaller, or set FACEBENTO_DEVICE to cpu."
            ) from error
        self._failed = np.full_like(answers[:1], np.nan)

    async def run(self, rows: NDArray[np.uint8]) -> NDArray[np.float32]:
        failures: list[Exception] = []
        batches = (rows[i : i + self.largest] for i in range(0, len(rows), self.largest))
        answers = await asyncio.gather(*(self._threads.run(self._batch, batch, failures) for batch in batches))
        self._note(len(rows), failures)
        return answers[0] if len(answers) == 1 else np.concatenate(answers)

    def _batch(self, rows: NDArray[np.uint8], failures: list[Exception]) -> NDArray[np.float32]:
        try:
            return self.answer(rows)
        except Exception as error:  # noqa: BLE001  onnxruntime's own are of many unrelated kinds
            if len(rows) == 1:
                failures.append(error)
                return self._failed
            # It may have been too large for the memory that is left on the GPU.
            log.warning("a batch of %d rows could not be run, each is tried alone: %s", len(rows), error)
            return np.concatenate([self._batch(rows[i : i + 1], failures) for i in range(len(rows))])

    def answer(self, rows: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One batch, in this thread. Raises errors of onnxruntime, of no common kind."""
        size = next(size for size in self._sessions if size >= len(rows))
        buffer = self._buffers.get()  # there is one for each thread
        try:
            # What it is padded with is what was there before: no row depends on its neighbours.
            buffer[: len(rows)] = rows
            return self._sessions[size].run(buffer[:size])[: len(rows)]
        finally:
            self._buffers.put(buffer)


def buckets(max_batch: int) -> list[int]:
    """The batch sizes that are run on a GPU: powers of two up to max_batch, and max_batch itself."""
    return [*(1 << k for k in range(max_batch.bit_length()) if 1 << k < max_batch), max_batch]
