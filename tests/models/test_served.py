"""The catalog's other models through the service's whole pipeline, which is told nothing but which they are."""

import asyncio
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from api.settings import Settings
from cli.local import Prepared, local_pipeline
from faces.detection import Order
from models.catalog import describe
from tests.models import originals


class Photo:
    field = "image"

    def __init__(self, pixels: npt.NDArray[np.uint8]) -> None:
        self._pixels = pixels

    def read(self) -> bytes:
        file = io.BytesIO()
        Image.fromarray(self._pixels).save(file, "PNG")
        return file.getvalue()


@pytest.mark.parametrize(
    ("detector", "embedder"), [("yunet-2023mar", "sface-2021dec"), ("scrfd-10g", "arcface-w600k-r50")]
)
def test_a_pair_of_models_goes_all_the_way(
    detector: str, embedder: str, original_models: Path | None, astronaut: npt.NDArray[np.uint8]
) -> None:
    def prepared(model_id: str) -> Prepared:
        description = describe(model_id)
        graph, kind = originals.graph(description, original_models)
        originals.tell(description, kind)
        return description, graph

    settings = Settings(device="cpu", threads=1, small_faces="never")
    pipeline = local_pipeline(settings, prepared(detector), prepared(embedder))
    photo = Photo(astronaut)
    faces = asyncio.run(pipeline.detect(photo, Order.CONFIDENCE, 5))
    assert faces
    assert all(0 <= face.left < face.right <= 512 and 0 <= face.top < face.bottom <= 512 for face in faces)
    assert asyncio.run(pipeline.compare(photo, photo)).score > 0.99
    darker = Photo((astronaut // 3)[:, ::-1])
    assert asyncio.run(pipeline.compare(photo, darker)).score < 1
