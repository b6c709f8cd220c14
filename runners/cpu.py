"""A graph on the cores of the host."""

import asyncio

import numpy as np
from numpy.typing import NDArray

from runners.engine import Engine
from runners.onnx import Session
from threads import Threads


class CpuEngine(Engine):
    """Runs each row alone, on as many threads as it is lent: a batch of eight takes longer than eight single images,
    since the activations leave the cache.
    """

    def __init__(self, session: Session, threads: Threads) -> None:
        """threads: what else computes in this process shares them, so that no more than the cores compute at a time."""
        super().__init__(session.placement)
        self._session = session
        self._threads = threads
        answer = session.run(np.zeros((1, *session.row), np.uint8))
        self._failed = np.full_like(answer, np.nan)

    async def run(self, rows: NDArray[np.uint8]) -> NDArray[np.float32]:
        failures: list[Exception] = []
        if len(rows) == 1:
            answers = await self._threads.run(self._alone, rows, failures)
        else:
            singles = (self._threads.run(self._alone, rows[i : i + 1], failures) for i in range(len(rows)))
            answers = np.concatenate(await asyncio.gather(*singles))
        self._note(len(rows), failures)
        return answers

    def _alone(self, row: NDArray[np.uint8], failures: list[Exception]) -> NDArray[np.float32]:
        try:
            return self._session.run(row)
        except Exception as error:  # noqa: BLE001  onnxruntime's own are of many unrelated kinds
            failures.append(error)
            return self._failed
