"""The pipeline of the commands, on the real starter models."""

import asyncio
import io

import skimage.data
from PIL import Image

from api.settings import Settings
from cli.local import local_pipeline
from faces.detection import Order
from models import store


class Photo:
    field = "image"

    def read(self) -> bytes:
        file = io.BytesIO()
        Image.fromarray(skimage.data.astronaut()).save(file, "PNG")  # type: ignore[no-untyped-call]
        return file.getvalue()


def test_one_picture_all_the_way() -> None:
    detector, embedder = (
        (model.description, model.read()) for model in map(store.find, ("centerface", "dlib-resnet-v1"))
    )
    pipeline = local_pipeline(Settings(device="cpu", threads=1), detector, embedder)
    [face] = asyncio.run(pipeline.detect(Photo(), Order.AREA, 5))
    assert face.left < 225 < face.right
    assert asyncio.run(pipeline.compare(Photo(), Photo())).score > 0.99
