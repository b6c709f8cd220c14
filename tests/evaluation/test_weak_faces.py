"""What is found with hardly any confidence: told for an evaluation, without a say in anything else."""

import asyncio
import io
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from evaluation.run import Photo
from faces.detection import Face, Order
from faces.templates import ARCFACE_TEMPLATE
from models.catalog import describe
from pipeline import Pipeline
from search import SearchOptions
from threads import Threads

DETECTOR = describe("centerface")
assert DETECTOR.detector is not None
THRESHOLD = DETECTOR.detector.score_threshold


class Detector:
    """Sees in every canvas something else, always the same in the same one: weak and strong faces, large and small."""

    def __init__(self, strong: int) -> None:
        self.canvases: list[int] = []
        self._strong = strong

    async def detect(self, canvases: NDArray[np.uint8]) -> NDArray[np.float32]:
        answers = np.zeros((len(canvases), 24, 15), np.float32)
        for answer, canvas in zip(answers, canvases, strict=True):
            seed = zlib.crc32(canvas.tobytes())
            self.canvases.append(seed)
            random = np.random.default_rng(seed)
            corner, side = random.uniform(0, 560, (24, 2)), random.choice([6, 12, 30, 80], (24, 1))
            answer[:, :2], answer[:, 2:4] = corner, corner + side
            answer[:, 4] = random.uniform(0, THRESHOLD, 24)
            answer[: self._strong, 4] += 0.4
            answer[:, 5:] = (corner[:, None] + np.array(ARCFACE_TEMPLATE) / 112 * side[:, None]).reshape(-1, 10)
        return answers


async def embed(_: NDArray[np.uint8]) -> NDArray[np.float32]:
    raise AssertionError("nobody asked for an embedding")


def look(
    strong: int, small_faces: Literal["auto", "always", "never"], told_from: float, *, rotations: bool
) -> tuple[list[Face], list[int]]:
    """The faces of a picture, and the canvases that the detector was asked about."""
    detector = Detector(strong)
    pipeline = Pipeline(
        detect=detector.detect,
        embed=embed,
        detector=DETECTOR,
        embedder=describe("dlib-resnet-v1"),
        threads=Threads(1, "decode"),
        max_pixels=10_000_000,
        max_image_memory_bytes=1_000_000_000,
        search=SearchOptions(small_faces, 12, 200, rotations, told_from),
    )
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (700, 900, 3), np.uint8)).save(file, "BMP")
    return asyncio.run(
        pipeline.detect(Photo(Path("crowd.png"), file.getvalue()), Order.CONFIDENCE, 10_000)
    ), detector.canvases


def told(faces: list[Face]) -> list[tuple[float, ...]]:
    return [(face.left, face.top, face.right, face.bottom, face.confidence, *face.landmarks.ravel()) for face in faces]


@pytest.mark.parametrize("strong", [0, 2, 10])
@pytest.mark.parametrize(("small_faces", "rotations"), [("auto", False), ("always", False), ("never", True)])
def test_weak_faces_change_nothing_about_the_others(
    strong: int, small_faces: Literal["auto", "always", "never"], rotations: bool
) -> None:
    served, canvases = look(strong, small_faces, 1.0, rotations=rotations)
    every, asked = look(strong, small_faces, 0.01, rotations=rotations)
    assert asked == canvases
    assert told([face for face in every if face.confidence > THRESHOLD]) == told(served)
    weak = [face.confidence for face in every if face.confidence <= THRESHOLD]
    assert len(weak) > 5
    assert 0.01 < min(weak) < 0.1
