"""Which faces are found, by their size, and what looking for them costs: the tables of docs/accuracy.md.

    python -m bench.small_faces [--detector yunet-2023mar] [--quick]

In this process, on the CPU, with the service's own pipeline and settings; no server. The group photographs are made up,
of 4,000 x 3,000 pixels, and their faces are those of two people: figures to compare settings by, and no benchmark.
"""

import argparse
import asyncio
import io
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from api.settings import Settings
from bench.group_photo import Box, Pixels, group_photo, people
from cli.local import local_pipeline
from faces.detection import Face, Order
from models import store
from models.catalog import ModelDescription

SIZES = (12, 14, 16, 20, 24, 48, 100)
BACKGROUNDS = ("coffee", "cat", "rocket", "brick")
SHARES = (1.0, 0.8, 0.7, 0.6, 0.5)  # of a face's box, across and down, that the frame shows
FOUND = 0.4  # intersection over union with the true box


@dataclass(frozen=True)
class Upload:
    content: bytes
    field: str = "image"

    def read(self) -> bytes:
        return self.content


class Looker:
    """A detector with its settings, which counts the canvases that it looks at."""

    def __init__(
        self, model_id: str, small_faces: Literal["auto", "never"], *, tiles: int = 200, rotations: bool = False
    ) -> None:
        model = store.find(model_id)
        settings = Settings(device="cpu", small_faces=small_faces, max_tiles=tiles, rotations=rotations)
        self._pipeline = local_pipeline(settings, (model.description, model.read()), None, self._count)
        self.canvases = 0
        self.seconds = 0.0  # of the processor

    def _count(self, _: ModelDescription, rows: NDArray[np.uint8], __: NDArray[np.float32]) -> None:
        self.canvases += len(rows)

    def find(self, pixels: Pixels) -> list[Face]:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=92)
        began = time.process_time()
        faces = asyncio.run(self._pipeline.detect(Upload(file.getvalue()), Order.CONFIDENCE, 750))
        self.seconds += time.process_time() - began
        return faces


def box(face: Face) -> Box:
    return Box(face.left, face.top, face.right, face.bottom)


def hits(found: Iterable[Face], truth: Iterable[Box]) -> int:
    """How many of the true faces were found."""
    boxes = [box(face) for face in found]
    return sum(max((each.overlap(one) for one in boxes), default=0) >= FOUND for each in truth)


def background(name: str, width: int, height: int) -> Pixels:
    pixels = getattr(skimage.data, name)()
    rgb = pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)
    return cv2.resize(np.ascontiguousarray(rgb), (width, height), interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def by_size(detector: str, backgrounds: Sequence[str], width: int, height: int, count: int) -> None:
    every = count * len(backgrounds)
    print(f"\n{width} x {height} pixels, {every} faces of each size on {', '.join(backgrounds)}; false ones behind +\n")
    print("| pixels of a face | 200 tiles | 64 tiles | only the whole picture |\n|---|---|---|---|")
    lookers = [
        Looker(detector, "auto", tiles=200),
        Looker(detector, "auto", tiles=64),
        Looker(detector, "never"),
    ]
    for size in (*SIZES, 0):
        seen = []
        for looker in lookers:
            right, false = 0, 0
            for name in backgrounds:
                picture = background(name, width, height)
                truth: list[Box] = []
                if size:
                    picture, truth = group_photo(picture, [size] * count)
                found = looker.find(picture)
                right += hits(found, truth)
                false += len(found) - hits(found, truth)
            seen.append(f"{right} + {false}")
        print(f"| {size or 'no face'} | {' | '.join(seen)} |", flush=True)
    pictures = len(backgrounds) * (len(SIZES) + 1)
    print(f"| canvases a picture | {' | '.join(f'{each.canvases / pictures:.0f}' for each in lookers)} |")
    print(f"| CPU seconds a picture | {' | '.join(f'{each.seconds / pictures:.2f}' for each in lookers)} |")


def filling(detector: str) -> None:
    print("\n| share of the face's box that the frame shows | found |\n|---|---|")
    looker = Looker(detector, "never")
    for share in SHARES:
        found = 0
        for pixels, face in people():
            x, y = (face.left + face.right) / 2, (face.top + face.bottom) / 2
            across, down = (face.right - face.left) * share / 2, (face.bottom - face.top) * share / 2
            part = pixels[int(y - down) : int(y + down), int(x - across) : int(x + across)]
            frame = Box(0, 0, part.shape[1], part.shape[0])
            found += hits(looker.find(np.ascontiguousarray(part)), [frame])
        print(f"| {share:.0%} | {found} of 2 |")


def turned(detector: str) -> None:
    size, count = 40, 12
    print(f"\nA picture of {count} faces of {size} pixels, turned by 0, 90, 180 and 270 degrees\n")
    print("| rotations | found, the right way up | CPU seconds a picture |\n|---|---|---|")
    picture, truth = group_photo(background("cat", 640, 480), [size] * count)
    for rotations in (False, True):
        looker = Looker(detector, "never", rotations=rotations)
        found = 0
        for turns in range(4):
            for face in looker.find(np.ascontiguousarray(np.rot90(picture, turns))):
                x, y = face.landmarks[:2].mean(axis=0) - face.landmarks[3:].mean(axis=0)
                # From mouth to eyes, turned back: up, give or take 45 degrees.
                up = complex(x, -y) * 1j**-turns
                found += bool(up.imag > abs(up.real))
        print(f"| {'on' if rotations else 'off'} | {found} of {4 * len(truth)} | {looker.seconds / 4:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", default="centerface", help="one of the store (centerface)")
    parser.add_argument("--quick", action="store_true", help="smaller pictures, one background")
    asked = parser.parse_args()
    backgrounds, size, count = (("cat",), (1600, 1200), 8) if asked.quick else (BACKGROUNDS, (4000, 3000), 40)
    by_size(asked.detector, backgrounds, *size, count)
    filling(asked.detector)
    turned(asked.detector)


if __name__ == "__main__":
    main()
