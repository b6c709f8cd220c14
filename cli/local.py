"""The way of an image with its models in this process: for commands, which start no server."""

from collections.abc import Awaitable, Callable
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from api.choice import chosen
from api.settings import Settings
from models.catalog import ModelDescription, catalog
from models.store import StoredModel
from pipeline import Pipeline
from runners.onnx import Placement
from runners.opening import open_engine
from search import SearchOptions
from threads import Threads

# A model as it is served: its description, and what is in its model.onnx.
Prepared = tuple[ModelDescription, bytes]
# Is told of a batch: the model that answers it, what it took and what it answered.
Watch = Callable[[ModelDescription, NDArray[np.uint8], NDArray[np.float32]], None]
Role = Literal["detector", "embedder"]
ROLES: Final[tuple[Role, Role]] = ("detector", "embedder")
# Is told where a model runs.
Placed = Callable[[ModelDescription, Placement], None]


def served_model(configured: Settings, role: Role) -> StoredModel:
    """The model of the settings. Raises SettingsError, as the service does where it can't serve it."""
    return chosen(role, getattr(configured, role), frozenset())


def served_pipeline(configured: Settings, *, embeds: bool = True, placed: Placed | None = None) -> Pipeline:
    """With the models of the settings; the embedder is left out where nothing is embedded.

    Raises SettingsError, ModelError, runners.errors.DeviceUnavailableError.
    """
    detector = served_model(configured, "detector")
    embedder = served_model(configured, "embedder") if embeds else None
    return local_pipeline(
        configured,
        (detector.description, detector.read()),
        None if embedder is None else (embedder.description, embedder.read()),
        placed=placed,
    )


def local_pipeline(
    configured: Settings,
    detector: Prepared,
    embedder: Prepared | None,
    watch: Watch | None = None,
    *,
    told_from: float = 1.0,
    placed: Placed | None = None,
) -> Pipeline:
    """The pipeline of the service, with the settings of the service. Without an embedder it only detects.

    told_from: as in SearchOptions.

    Raises runners.errors.DeviceUnavailableError.
    """
    return Pipeline(
        detect=_runs(detector, configured, configured.detector_batch_size, watch, placed),
        embed=_runs(embedder, configured, configured.embedder_batch_size, watch, placed)
        if embedder
        else _embeds_nothing,
        detector=detector[0],
        embedder=embedder[0] if embedder else next(each for each in catalog().values() if each.embedder),
        threads=Threads(configured.decode_threads, "decode"),
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


def _runs(
    model: Prepared, configured: Settings, max_batch: int, watch: Watch | None, placed: Placed | None
) -> Callable[[NDArray[np.uint8]], Awaitable[NDArray[np.float32]]]:
    threads = Threads(configured.threads, "onnx")
    engine = open_engine(
        model[1], device=configured.device, threads=threads, max_batch=max_batch, gpu_engine=configured.gpu_engine
    )
    if placed is not None:
        placed(model[0], engine.placement)

    async def run(rows: NDArray[np.uint8]) -> NDArray[np.float32]:
        answers = await engine.run(rows)
        if watch is not None:
            watch(model[0], rows, answers)
        return answers

    return run


async def _embeds_nothing(_: NDArray[np.uint8]) -> NDArray[np.float32]:
    raise AssertionError("this pipeline was made without an embedder")
