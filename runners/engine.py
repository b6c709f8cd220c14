"""What every engine does: it runs rows, answers NaN for those that can't be run, and knows when its device is lost."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from runners.onnx import Placement

log = logging.getLogger("facebento.runners")

# Runs in a row of which no row could be run: a shortage of memory may pass, a lost device does not. A run is a batch on
# a GPU, and a row or several on a CPU.
LOST_AFTER = 5


class Engine(ABC):
    """One prepared graph, warmed up: uint8 [n, ...] in, float32 [n, ...] out, the same for every n."""

    def __init__(self, placement: Placement) -> None:
        self.placement = placement
        self._failed_runs = 0  # in a row, of all their rows

    @property
    def lost(self) -> bool:
        """Whether nothing can be run any more. A device that was lost stays lost to this process."""
        return self._failed_runs >= LOST_AFTER

    @abstractmethod
    async def run(self, rows: NDArray[np.uint8]) -> NDArray[np.float32]:
        """rows: uint8 [n, ...] with n > 0, in the shape of the graph's input. Returns float32 [n, ...], NaN in the
        rows that could not be run. Cancelled, it begins nothing more.
        """

    def _note(self, rows: int, failures: Sequence[Exception]) -> None:
        """failures: one for each of a run's rows that could not be run."""
        if failures:
            log.error("%d of %d rows could not be run: %s", len(failures), rows, failures[0])
        self._failed_runs = self._failed_runs + 1 if len(failures) == rows else 0
