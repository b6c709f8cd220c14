"""The detector as a BentoML service: batch of canvases -> candidates."""

from typing import Any

import bentoml
import numpy as np

from models.packing import Reference
from models.store import StoredModel
from runners.base import Runner, RunnerOptions, before_start


def detector_runner(stored: StoredModel, options: RunnerOptions) -> Any:
    """The BentoML service that runs a stored detector."""

    @bentoml.service(name="detector", **options.service)
    class Detector(Runner):
        model = Reference(stored.tag)
        check = before_start(stored, options)
        spans = options.spans

        def __init__(self) -> None:
            super().__init__(stored, options)

        @bentoml.api(**options.batching("detect", stored))
        async def detect(self, canvases: np.ndarray) -> np.ndarray:
            """canvases: uint8 [n, S, S, 3], RGB. Returns float32 [n, K, 15], by falling score: box x1, y1, x2, y2,
            score, then five points x, y, in canvas pixels. NaN for a canvas that could not be run.
            """
            return await self._run(canvases)

    return Detector
