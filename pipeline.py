"""The way of an image: bytes -> pixels -> faces -> aligned crops -> embeddings -> score."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from faces.alignment import ARCFACE_SIZE, align, letterbox, realign
from faces.detection import Face, Order, read_candidates, select
from faces.errors import ImageWrongSizeError, blamed_on
from faces.feature import Embedding, cosine_similarity, usable
from faces.feature import decode as decode_feature
from faces.feature import encode as encode_feature
from faces.image import Pixels
from faces.image import decode as decode_image
from models.catalog import ModelDescription
from runners.errors import RunnerUnavailableError
from stages import found, stage

log = logging.getLogger("facebento.pipeline")

T = TypeVar("T")
Rows = Any  # what a runner takes and gives: an array with a row for each image or face


class Upload(Protocol):
    """What a client sent in one field of a request."""

    @property
    def field(self) -> str: ...

    def read(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Scene:
    """An image and the faces found in it."""

    pixels: Pixels
    faces: list[Face]

    def best(self, order: Order, limit: int) -> list[Face]:
        height, width = self.pixels.shape[:2]
        return select(self.faces, order, limit, width=width, height=height)

    @property
    def largest(self) -> Face | None:
        return next(iter(self.best(Order.AREA, 1)), None)


@dataclass(frozen=True, slots=True)
class Comparison:
    score: float
    faces: tuple[Face | None, Face | None]  # the largest of each image


class Pipeline:
    """Images in, faces, embeddings and scores out.

    All of it raises what faces.errors, the runners' methods and an upload's `read` raise.
    """

    def __init__(
        self,
        *,
        detect: Callable[[Rows], Awaitable[Rows]],
        embed: Callable[[Rows], Awaitable[Rows]],
        detector: ModelDescription,
        embedder: ModelDescription,
        decode_threads: int,
        max_pixels: int,
    ) -> None:
        """detect, embed: the runners' methods, batch in, batch out. Raises TypeError for a model of the other role."""
        if detector.detector is None or embedder.embedder is None:
            raise TypeError(f"{detector.id} must be a detector, and {embedder.id} an embedder")
        self._detect_rows = detect
        self._embed_rows = embed
        self._canvas_size = detector.input.size
        self._detector = detector.detector
        self._crop_size = embedder.input.size
        self._embedder = embedder.embedder
        self._fingerprint = bytes.fromhex(embedder.fingerprint)
        self._mapping = self._embedder.score
        self._max_pixels = max_pixels
        # Decoding and warping hold the interpreter only briefly: threads do them beside the event loop.
        self._threads = ThreadPoolExecutor(decode_threads, "decode")

    async def detect(self, upload: Upload, order: Order, limit: int) -> list[Face]:
        scene = await self._scene(upload)
        return scene.best(order, limit)

    async def embed_largest(self, upload: Upload) -> tuple[Face, Embedding] | None:
        """The largest face; None if there is no face."""
        scene = await self._scene(upload)
        face = scene.largest
        if face is None:
            return None
        [embedding] = await self._embed([(scene, [face])])
        return face, embedding

    async def embed_all(self, upload: Upload, limit: int) -> list[tuple[Face, Embedding]]:
        """The faces of highest confidence, embedded as one batch."""
        scene = await self._scene(upload)
        faces = scene.best(Order.CONFIDENCE, limit)
        return list(zip(faces, await self._embed([(scene, faces)]), strict=True))

    async def embed_aligned(self, upload: Upload) -> Embedding:
        """The upload is a crop aligned to ArcFace's template; no detector runs."""
        with stage("decode"):
            crops = await self._in_thread(self._read_crop, upload)
        [embedding] = await self._embed_crops(crops)
        return embedding

    async def compare(self, first: Upload, second: Upload) -> Comparison:
        """The largest faces of two images; score 0 where one has none."""
        scenes = await asyncio.gather(self._scene(first), self._scene(second), return_exceptions=True)
        for scene in scenes:  # of two broken images, the first one is told
            if isinstance(scene, BaseException):
                raise scene
        a, b = (scene for scene in scenes if isinstance(scene, Scene))
        one, other = a.largest, b.largest
        if one is None or other is None:
            return Comparison(0.0, (one, other))
        embeddings = await self._embed([(a, [one]), (b, [other])])
        return Comparison(self._mapping.score(cosine_similarity(*embeddings)), (one, other))

    def feature(self, embedding: Embedding) -> bytes:
        return encode_feature(embedding, self._fingerprint)

    async def compare_features(self, first: Upload, second: Upload) -> float:
        with stage("decode"):
            a, b = await self._in_thread(lambda: (self._read_feature(first), self._read_feature(second)))
        return self._mapping.score(cosine_similarity(a, b))

    async def _scene(self, upload: Upload) -> Scene:
        with stage("decode"):
            pixels, canvas, scale = await self._in_thread(self._read_image, upload)
        with stage("detect"):
            [candidates] = await self._detect_rows(canvas)
            faces = await self._in_thread(self._read_faces(candidates, pixels, scale))
        found(len(faces))
        return Scene(pixels, faces)

    def _read_faces(self, candidates: Rows, pixels: Pixels, scale: float) -> Callable[[], list[Face]]:
        height, width = pixels.shape[:2]
        return partial(
            read_candidates,
            candidates,
            scale=scale,
            width=width,
            height=height,
            score_threshold=self._detector.score_threshold,
            iou_threshold=self._detector.iou_threshold,
        )

    async def _embed(self, wanted: Sequence[tuple[Scene, list[Face]]]) -> list[Embedding]:
        if not any(faces for _, faces in wanted):
            return []
        with stage("align"):
            crops = await self._in_thread(self._align, wanted)
        return await self._embed_crops(crops)

    async def _embed_crops(self, crops: Rows) -> list[Embedding]:
        with stage("embed"):
            embeddings = await self._embed_rows(crops)
        if not usable(embeddings):
            log.error(
                "the embedder answered vectors that are not finite or not of unit length: its model or device fails"
            )
            raise RunnerUnavailableError("The embedder failed: it answered no unit vectors. See the service's log.")
        return list(embeddings)

    def _read_image(self, upload: Upload) -> tuple[Pixels, Rows, float]:
        pixels = self._decode(upload)
        canvas, scale = letterbox(pixels, self._canvas_size)
        return pixels, canvas[None], scale

    def _read_crop(self, upload: Upload) -> Rows:
        pixels = self._decode(upload)
        height, width = pixels.shape[:2]
        if (width, height) != (ARCFACE_SIZE, ARCFACE_SIZE):
            wrong = ImageWrongSizeError(
                f"The image has {width} x {height} pixels. Send a face aligned to ArcFace's template, "
                f"{ARCFACE_SIZE} x {ARCFACE_SIZE}, or use the endpoint without -only for any other image."
            )
            wrong.field = upload.field
            raise wrong
        return realign(pixels, self._embedder.template, self._crop_size)

    def _decode(self, upload: Upload) -> Pixels:
        with blamed_on(upload.field):
            return decode_image(upload.read(), max_pixels=self._max_pixels)

    def _read_feature(self, upload: Upload) -> Embedding:
        with blamed_on(upload.field):
            return decode_feature(upload.read(), self._fingerprint, self._embedder.dimensions)

    def _align(self, wanted: Sequence[tuple[Scene, list[Face]]]) -> Rows:
        pairs = [(scene.pixels, face) for scene, faces in wanted for face in faces]
        return align(pairs, self._embedder.template, self._crop_size)

    async def _in_thread(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)
