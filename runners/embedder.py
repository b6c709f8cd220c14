"""The embedder as a BentoML service: batch of crops -> embeddings."""

from typing import Any

import bentoml
import numpy as np

from models.packing import Reference
from models.store import StoredModel
from runners.base import Runner, RunnerOptions, before_start


def embedder_runner(stored: StoredModel, options: RunnerOptions) -> Any:
    """The BentoML service that runs a stored embedder."""

    @bentoml.service(name="embedder", **options.service)
    class Embedder(Runner):
        model = Reference(stored.tag)
        check = before_start(stored, options)
        spans = options.spans

        def __init__(self) -> None:
            super().__init__(stored, options)

        @bentoml.api(**options.batching("embed", stored))
        async def embed(self, crops: np.ndarray) -> np.ndarray:
            """crops: uint8 [n, s, s, 3], RGB, on the model's template. Returns float32 [n, d], L2-normalised; NaN for a
            crop that could not be run.
            """
            return await self._run(crops)

    return Embedder
