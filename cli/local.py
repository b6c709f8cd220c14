"""The way of an image with its models in this process: for commands, which start no server."""

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
from numpy.typing import NDArray

from api.settings import Settings
from models.catalog import ModelDescription
from pipeline import Pipeline
from runners.onnx import Engine
from search import SearchOptions

# A model as it is served: its description, and what is in its model.onnx.
Prepared = tuple[ModelDescription, bytes]


def local_pipeline(configured: Settings, detector: Prepared, embedder: Prepared) -> Pipeline:
    """The pipeline of the service, with the settings of the service.

    Raises runners.errors.DeviceUnavailableError.
    """
    return Pipeline(
        detect=_engine(detector, configured, configured.detector_batch_size),
        embed=_engine(embedder, configured, configured.embedder_batch_size),
        detector=detector[0],
        embedder=embedder[0],
        decode_threads=configured.decode_threads,
        max_pixels=configured.max_pixels,
        max_image_memory_bytes=configured.max_image_memory_bytes,
        search=SearchOptions(configured.small_faces, configured.smallest_face, configured.rotations),
    )


def _engine(
    model: Prepared, configured: Settings, max_batch: int
) -> Callable[[NDArray[np.uint8]], Awaitable[NDArray[np.float32]]]:
    engine = Engine(model[1], device=configured.device, threads=configured.threads, max_batch=max_batch)

    async def run(rows: NDArray[np.uint8]) -> NDArray[np.float32]:
        return await asyncio.to_thread(engine.run, rows)

    return run
