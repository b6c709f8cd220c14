"""What a model that is not stored yet makes of photographs, by the service's own pipeline: told, and drawn.

Whoever described a file sees here whether the description is right: a wrong colour order, mean, scale, decoding or
template makes weak scores, boxes beside the faces, points beside the eyes, or people who look all alike.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from api import settings
from api.settings import Settings
from cli.detect import POINTS, told
from cli.drawing import drawn
from cli.local import Prepared, local_pipeline
from cli.options import MOST_FACES
from cli.table import print_table
from evaluation.run import Photo
from faces import image
from faces.detection import Face, Order
from faces.errors import InputError
from faces.feature import Embedding, cosine_similarity
from models import lengths, store
from models.catalog import ModelDescription
from models.store import storage_errors
from runners.errors import RunnerUnavailableError
from runners.opening import open_engine
from threads import Threads

T = TypeVar("T")
Pixels = NDArray[np.uint8]


@dataclass
class Seen:
    """What a model took, and what it answered to the last photo."""

    model: ModelDescription
    taken: list[Pixels] = field(default_factory=list)
    answered: list[NDArray[np.float32]] = field(default_factory=list)

    def watch(self, model: ModelDescription, rows: Pixels, answers: NDArray[np.float32]) -> None:
        if model == self.model:
            self.taken.append(rows)
            self.answered.append(answers)

    def clear(self) -> None:
        self.taken.clear()
        self.answered.clear()


def show(description: ModelDescription, graph: bytes, photos: Sequence[Path], draw: Path | None) -> None:
    """Prints what the model makes of each photo and, where `draw` is a path, writes a PNG of it.

    An embedder takes the faces that the detector of the settings finds, which has to be stored. Raises ModelError,
    SettingsError, DeviceUnavailableError, and ClickException for a photo.
    """
    trial = _Trial(description, graph, settings.load())
    taken = [_photo(each) for each in photos]
    pictures = [trial.detect(each) for each in taken] if description.detector else trial.embed(taken)
    if draw is not None:
        _write(pictures, draw)


def _photo(path: Path) -> Photo:
    with storage_errors(f"read {path}"):
        return Photo(path, path.read_bytes())


class _Trial:
    """A model that is not stored, in the place that it would have in the pipeline."""

    def __init__(self, description: ModelDescription, graph: bytes, configured: Settings) -> None:
        self._graph = graph
        self._configured = configured
        self._detector = description.detector
        self._embedder = description.embedder
        self._seen = Seen(description)
        own: Prepared = (description, graph)
        if description.detector:
            self._pipeline = local_pipeline(configured, own, None, self._seen.watch)
        else:
            found = store.find(configured.detector)
            self._pipeline = local_pipeline(configured, (found.description, found.read()), own, self._seen.watch)

    def detect(self, photo: Photo) -> Image.Image:
        """Prints the faces of a photo. The photo with them drawn in."""
        faces, taken_ms = self._run(photo, self._pipeline.detect(photo, Order.CONFIDENCE, MOST_FACES))
        picture = Image.fromarray(image.decode(photo.read(), max_pixels=self._configured.max_pixels).pixels)
        count = f"{len(faces)} face{'' if len(faces) == 1 else 's'}" if faces else "no face"
        click.echo(f"{photo.path}: {picture.width} x {picture.height} pixels: {count} in {taken_ms:.0f} ms")
        if faces:
            rows: list[tuple[str, ...]] = [("", "CONFIDENCE", "LEFT", "TOP", "RIGHT", "BOTTOM", *POINTS)]
            rows += [(str(number), *told(face)) for number, face in enumerate(faces, 1)]
            print_table(rows, indent=2)
        for line in self._doubts(faces):
            click.echo(f"  {line}")
        return drawn(picture, faces)

    def embed(self, photos: Sequence[Photo]) -> list[Image.Image]:
        """Prints what becomes of the largest face of each photo, and how alike they are. The crops."""
        lengths_of = self._answers(lengths.of(self._graph))
        found: list[tuple[Photo, Embedding]] = []
        crops = []
        for photo in photos:
            answer, taken_ms = self._run(photo, self._pipeline.embed_largest(photo))
            if answer is None:
                click.echo(f"{photo.path}: {self._configured.detector} finds no face")
                continue
            face, embedding = answer
            [crop] = self._seen.taken[0]
            length = float(lengths_of(crop[None])[0, 0])
            click.echo(
                f"{photo.path}: the face at {face.left:.0f},{face.top:.0f} to {face.right:.0f},{face.bottom:.0f}, "
                f"cropped to {crop.shape[1]} x {crop.shape[0]}: {embedding.size} dimensions, of length {length:.3g} "
                f"before they are normalised, in {taken_ms:.0f} ms"
            )
            found.append((photo, embedding))
            crops.append(Image.fromarray(crop))
        self._compare(found)
        return crops

    def _compare(self, found: Sequence[tuple[Photo, Embedding]]) -> None:
        if len(found) < 2 or self._embedder is None:
            return
        mapping = self._embedder.score
        rows: list[tuple[str, ...]] = [("", "", "COSINE", "SCORE")]
        for (one, first), (other, second) in itertools.combinations(found, 2):
            cosine = cosine_similarity(first, second)
            rows.append((str(one.path), str(other.path), f"{cosine:.4f}", f"{mapping.score(cosine):.4f}"))
        print_table(rows, indent=2)
        click.echo(f"  one person from a cosine of {mapping.cosine} on, where the score is 0.5")

    def _run(self, photo: Photo, work: Coroutine[Any, Any, T]) -> tuple[T, float]:
        """What the pipeline answers, and the milliseconds that it took."""
        self._seen.clear()
        began = time.perf_counter()
        try:
            answer = asyncio.run(work)
        except InputError as error:
            raise click.ClickException(f"{photo.path}: {error}") from error
        except RunnerUnavailableError as error:
            doubt = (
                "`mean`, `scale`, `outputs` (their order) and `decoding`" if self._detector else "`mean` and `scale`"
            )
            raise click.ClickException(f"{photo.path}: {error} Doubt {doubt}") from error
        return answer, (time.perf_counter() - began) * 1000

    def _doubts(self, faces: Sequence[Face]) -> Iterator[str]:
        """What speaks against the description, by the scores of all candidates, in a photo that shows a face."""
        if self._detector is None:
            raise AssertionError("only a detector has candidates")
        scores = np.concatenate([answer[..., 4].ravel() for answer in self._seen.answered])
        best, least = float(scores.max()), float(scores.min())
        counts = self._detector.score_threshold
        if best > 1.001 or least < -0.001:
            yield f"its scores are {least:.3g} to {best:.3g}, not 0 to 1: doubt `outputs` (their order) and `decoding`"
        elif faces:
            outside = sum(not _points_inside(face) for face in faces)
            if outside:
                yield f"{outside} with points far outside the box: doubt `outputs` (their order), `decoding`"
        else:
            yield f"its scores are {least:.3g} to {best:.3g}, and a face counts above {counts:.3g}"
            answers = self._answers(self._graph)
            swapped = max(float(answers(rows[..., ::-1].copy())[..., 4].max()) for rows in self._seen.taken)
            if swapped > counts:
                yield f"with the colours the other way round the best is {swapped:.3g}: doubt `color`"
            else:
                order = "`mean` and `scale`, `color`, `outputs` (their order) and `decoding`, `size`, `score_threshold`"
                yield f"if the photo shows a face, doubt, in this order: {order}"

    def _answers(self, graph: bytes) -> Callable[[Pixels], NDArray[np.float32]]:
        engine = open_engine(graph, device=self._configured.device, threads=Threads(1, "onnx"), max_batch=1)
        return lambda rows: asyncio.run(engine.run(rows))


def _points_inside(face: Face) -> bool:
    """Within the box, or a quarter of its sides beside it."""
    across, down = (face.right - face.left) / 4, (face.bottom - face.top) / 4
    x, y = face.landmarks.T
    return bool(
        ((x > face.left - across) & (x < face.right + across) & (y > face.top - down) & (y < face.bottom + down)).all()
    )


def _write(pictures: Sequence[Image.Image], target: Path) -> None:
    """One PNG: the pictures side by side."""
    if not pictures:
        raise click.ClickException(f"{target} is not written: there is nothing to draw")
    sheet = Image.new("RGB", (sum(each.width for each in pictures), max(each.height for each in pictures)))
    left = 0
    for each in pictures:
        sheet.paste(each, (left, 0))
        left += each.width
    with storage_errors(f"write {target}"):
        sheet.save(target, "PNG")
    click.echo(f"{target} is written")
