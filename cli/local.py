"""The way of an image with its models in this process: for commands, which start no server."""

from collections.abc import Awaitable, Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from api.settings import Settings
from models.catalog import ModelDescription, catalog
from pipeline import Pipeline
from runners.opening import open_engine
from search import SearchOptions
from threads import Threads

# A model as it is served: its description, and what is in its model.onnx.
Prepared = tuple[ModelDescription, bytes]
MOST_FACES: Final = 750  # as the service answers at most
# Is told of a batch: the model that answers it, what it took and what it answered.
Watch = Callable[[ModelDescription, NDArray[np.uint8], NDArray[np.float32]], None]


def local_pipeline(
    configured: Settings,
    detector: Prepared,
    embedder: Prepared | None,
    watch: Watch | None = None,
    told_from: float = 1.0,
) -> Pipeline:
    """The pipeline of the service, with the settings of the service. Without an embedder it only detects.

    told_from: as in SearchOptions.

    Raises runners.errors.DeviceUnavailableError.
    """
    return Pipeline(
        detect=_engine(detector, configured, configured.detector_batch_size, watch),
        embed=_engine(embedder, configured, configured.embedder_batch_size, watch) if embedder else _embeds_nothing,
        detector=detector[0],
        embedder=embedder[0] if embedder else next(each for each in catalog().values() if each.embedder),
        decode_threads=configured.decode_threads,
        max_pixels=configured.max_pixels,
        max_image_memory_bytes=configured.max_image_memory_bytes,
        search=SearchOptions(
            configured.small_faces,
            configured.smallest_face,
            configured.max_tiles,
            configured.rotations,
            told_from,
        ),
    )


def _engine(
    model: Prepared, configured: Settings, max_batch: int, watch: Watch | None
) -> Callable[[NDArray[np.uint8]], Awaitable[NDArray[np.float32]]]:
    threads = Threads(configured.threads, "onnx")
    engine = open_engine(
        model[1], device=configured.device, threads=threads, max_batch=max_batch, gpu_engine=configured.gpu_engine
    )

    async def run(rows: NDArray[np.uint8]) -> NDArray[np.float32]:
        answers = await engine.run(rows)
        if watch is not None:
            watch(model[0], rows, answers)
        return answers

    return run


async def _embeds_nothing(_: NDArray[np.uint8]) -> NDArray[np.float32]:
    raise AssertionError("this pipeline was made without an embedder")
