"""The way of an image: bytes -> pixels -> faces -> aligned crops -> embeddings -> score."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from faces.alignment import align, realign, reduction_for
from faces.detection import Face, Order
from faces.errors import ImageWrongSizeError, blamed_on
from faces.feature import Embedding, cosine_similarity, usable
from faces.feature import decode as decode_feature
from faces.feature import encode as encode_feature
from faces.image import Picture
from faces.templates import ARCFACE_SIZE
from memory import Hold, ImageMemory
from models.catalog import ModelDescription
from opening import LargerError, Opener, Opening, Upload
from runners.errors import RunnerUnavailableError
from runners.step import Rows, Step
from search import Scene, Search, SearchOptions
from stages import found, stage
from threads import Threads

log = logging.getLogger("facebento.pipeline")

T = TypeVar("T")

CROPS_AT_ONCE: Final = 64
# Of all memory of images, what is held for one before its header is read: 32 MB by default, 4 megapixels; less where
# there are so many threads that some would have nothing to do.
ORDINARY_SHARE: Final = 24


@dataclass(frozen=True, slots=True)
class Comparison:
    score: float
    faces: tuple[Face | None, Face | None]  # the largest of each image


# The faces that are to be cut out of a picture decoded anew: by the upload's number and the reduction.
Finer = dict[tuple[int, int], list[Face]]


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
        threads: Threads,
        max_pixels: int,
        max_image_memory_bytes: int,
        search: SearchOptions,
        detect_here: Callable[[Rows], Rows] | None = None,
        embed_here: Callable[[Rows], Rows] | None = None,
    ) -> None:
        """detect, embed: the runners' methods, batch in, batch out. detect_here, embed_here: the same for a thread of
        this process, where the runners live in it and compute on the CPU. threads: on these, pictures are decoded,
        scaled and cut, all of which holds the interpreter only briefly.

        Raises TypeError for a model of the other role.
        """
        if detector.detector is None or embedder.embedder is None:
            raise TypeError(f"{detector.id} must be a detector, and {embedder.id} an embedder")
        self._embed_step = Step("embed", embed, embed_here, threads)
        self._crop_size = embedder.input.size
        self._embedder = embedder.embedder
        self._fingerprint = bytes.fromhex(embedder.fingerprint)
        self._mapping = self._embedder.mapping
        self._opener = Opener(max_pixels=max_pixels, canvas_size=detector.input.size)
        # Twice: as a message to the runner they are copied.
        self._crop_bytes = 2 * 3 * self._crop_size**2
        self.memory = ImageMemory(max_image_memory_bytes)
        self._ordinary_bytes = max_image_memory_bytes // max(ORDINARY_SHARE, 2 * threads.count)
        self._threads = threads
        self._search = Search(
            Step("detect", detect, detect_here, threads),
            detector.detector,
            detector.input.size,
            search,
            threads=threads,
            memory=self.memory,
            memory_bytes=max_image_memory_bytes,
        )

    async def detect(self, upload: Upload, order: Order, limit: int) -> list[Face]:
        async with self._looked_at([upload], crops=0) as (_, [scene], _):
            pass
        [scene] = await self._searched([upload], [scene], order, limit)
        return scene.best(order, limit)

    async def embed_largest(self, upload: Upload) -> tuple[Face, Embedding] | None:
        """The largest face; None if there is no face."""
        return next(iter(await self._embed_best(upload, Order.AREA, 1)), None)

    async def embed_all(self, upload: Upload, limit: int) -> list[tuple[Face, Embedding]]:
        """The faces of highest confidence."""
        return await self._embed_best(upload, Order.CONFIDENCE, limit)

    async def embed_aligned(self, upload: Upload) -> Embedding:
        """The upload is a crop aligned to ArcFace's template; no detector runs."""
        async with self.memory.hold(2 * self._crop_bytes) as held:
            [embedding] = await self._embed_step.take(held, partial(self._read_crop, upload), _embeddings)
        return embedding

    async def compare(self, first: Upload, second: Upload) -> Comparison:
        """The largest faces of two images; score 0 where one has none."""
        (ones, others), embeddings = await self._embed((first, second), Order.AREA, 1)
        if not ones or not others:
            return Comparison(0.0, (next(iter(ones), None), next(iter(others), None)))
        one, other = ones[0], others[0]
        return Comparison(self._mapping.score(cosine_similarity(embeddings[one], embeddings[other])), (one, other))

    def feature(self, embedding: Embedding) -> bytes:
        return encode_feature(embedding, self._fingerprint)

    async def compare_features(self, first: Upload, second: Upload) -> float:
        def similarity() -> float:
            with stage("decode"):
                return cosine_similarity(self._read_feature(first), self._read_feature(second))

        return self._mapping.score(await self._threads.run(similarity))

    @asynccontextmanager
    async def _looked_at(
        self, uploads: Sequence[Upload], crops: int
    ) -> AsyncIterator[tuple[Hold, list[Scene], list[Picture]]]:
        """What a look at the whole of each upload shows, and, if crops are to be cut, the pictures, with memory for
        both as long as inside.

        What a picture takes is told by its header, which is read on a thread. Memory for one of ordinary size is held
        before, so that the same thread can go on with that.

        crops: how many at a time. Of two uploads that fail, the first one is told.
        """
        crops_bytes = crops * self._crop_bytes
        looks_bytes = len(uploads) * self._search.look_bytes
        budgets = [self._ordinary_bytes] * len(uploads)
        while True:
            async with self.memory.hold(sum(budgets) + looks_bytes + crops_bytes) as held:
                openings = [
                    Opening(self._opener, upload, budget, keep=crops > 0)
                    for upload, budget in zip(uploads, budgets, strict=True)
                ]

                def shown(openings: Sequence[Opening] = openings, held: Hold = held) -> None:
                    held.shrink(sum(each.bytes for each in openings) + looks_bytes + crops_bytes)

                try:
                    scenes = await _all(self._search.first(held, each.open, shown=shown) for each in openings)
                except LargerError:
                    budgets = [max(budget, each.needed) for budget, each in zip(budgets, openings, strict=True)]
                    continue
                pictures = [each.picture for each in openings if each.picture is not None]
                held.shrink(sum(each.bytes for each in openings) + crops_bytes)
                del openings, shown
                yield held, scenes, pictures
                return

    async def _searched(
        self, uploads: Sequence[Upload], scenes: Sequence[Scene], order: Order, limit: int
    ) -> list[Scene]:
        """The scenes after as close a search as the faces asked for take. To be called without memory of images."""
        searched = [
            scene
            if self._search.done(scene, order, limit)
            else await self._search.closer(scene, partial(self._opener.picture, upload, 1))
            for upload, scene in zip(uploads, scenes, strict=True)
        ]
        for scene in searched:
            found(len(scene.faces), scene.header.width * scene.header.height)
        return searched

    async def _embed_best(self, upload: Upload, order: Order, limit: int) -> list[tuple[Face, Embedding]]:
        [faces], embeddings = await self._embed([upload], order, limit)
        return [(face, embeddings[face]) for face in faces]

    async def _embed(
        self, uploads: Sequence[Upload], order: Order, limit: int
    ) -> tuple[list[list[Face]], dict[Face, Embedding]]:
        """The best faces of each upload, and the embedding of each; of none where one of the uploads shows no face.

        A face that shows more than the picture as the detector saw it is cut out of the picture decoded anew, once
        the memory of the first is given back.
        """
        crops = min(len(uploads) * limit, CROPS_AT_ONCE)
        embeddings: dict[Face, Embedding] = {}
        async with self._looked_at(uploads, crops) as (held, scenes, pictures):
            seen = all(self._search.done(scene, order, limit) for scene in scenes)
            if seen:
                best, ready, finer = self._sorted(scenes, pictures, order, limit)
                embeddings = await self._embed_faces(held, ready)
                del ready
            del pictures
        scenes = await self._searched(uploads, scenes, order, limit)
        if not seen:
            best, _, finer = self._sorted(scenes, [None] * len(scenes), order, limit)
        for (number, reduction), faces in finer.items():
            header = scenes[number].header
            crops_bytes = min(len(faces), CROPS_AT_ONCE) * self._crop_bytes
            async with self.memory.hold(header.peak_bytes(reduction) + crops_bytes) as held:
                decode = partial(self._opener.picture, uploads[number], reduction)
                picture = await held.in_thread(self._threads, decode)
                held.shrink(picture.pixels.nbytes + crops_bytes)
                embeddings |= await self._embed_faces(held, [(picture, face) for face in faces])
                del picture
        return best, embeddings

    def _sorted(
        self, scenes: Sequence[Scene], pictures: Sequence[Picture | None], order: Order, limit: int
    ) -> tuple[list[list[Face]], list[tuple[Picture, Face]], Finer]:
        """The best faces of each scene: all of them, those that its picture shows well enough, and the others."""
        best = [scene.best(order, limit) for scene in scenes]
        ready: list[tuple[Picture, Face]] = []
        finer: Finer = {}
        for number, (scene, picture, faces) in enumerate(zip(scenes, pictures, best, strict=True)):
            for face in faces if all(best) else ():
                if picture is not None and picture.reduction == 1:
                    ready.append((picture, face))
                    continue
                enough = reduction_for(face, self._embedder.template, self._crop_size)
                if picture is not None and picture.reduction <= enough:
                    ready.append((picture, face))
                else:
                    finer.setdefault((number, scene.header.possible(enough)), []).append(face)
        return best, ready, finer

    async def _embed_faces(self, held: Hold, wanted: Sequence[tuple[Picture, Face]]) -> dict[Face, Embedding]:
        """In batches, so that a crowd takes no more memory than a few."""
        found: dict[Face, Embedding] = {}
        for start in range(0, len(wanted), CROPS_AT_ONCE):
            batch = wanted[start : start + CROPS_AT_ONCE]

            def cut(batch: Sequence[tuple[Picture, Face]] = batch) -> tuple[Rows, None]:
                with stage("align"):
                    return align(batch, self._embedder.template, self._crop_size), None

            embeddings = await self._embed_step.take(held, cut, _embeddings)
            found |= zip((face for _, face in batch), embeddings, strict=True)
        return found

    def _read_crop(self, upload: Upload) -> tuple[Rows, None]:
        """A crop that is aligned already, as the embedder takes it. On a thread."""
        header = self._opener.header(upload)
        if (header.width, header.height) != (ARCFACE_SIZE, ARCFACE_SIZE):
            wrong = ImageWrongSizeError(
                f"The image has {header.width} x {header.height} pixels. Send a face aligned to ArcFace's template, "
                f"{ARCFACE_SIZE} x {ARCFACE_SIZE}, or use the endpoint without -only for any other image."
            )
            wrong.field = upload.field
            raise wrong
        picture = self._opener.picture(upload, 1)
        with stage("align"):
            return realign(picture.pixels, self._embedder.template, self._crop_size), None

    def _read_feature(self, upload: Upload) -> Embedding:
        with blamed_on(upload.field):
            return decode_feature(upload.read(), self._fingerprint, self._embedder.dimensions)


def _embeddings(_: None, answers: Rows) -> list[Embedding]:
    """An embedder's answers. Raises RunnerUnavailableError for what is no embedding."""
    if not usable(answers):
        log.error("the embedder answered vectors that are not finite or not of unit length: its model or device fails")
        raise RunnerUnavailableError("The embedder failed: it answered no unit vectors. See the service's log.")
    return list(answers)


async def _all(works: Iterable[Awaitable[T]]) -> list[T]:
    """What all of them give. Raises, when all are done, what the first of those that failed raised."""
    results = await asyncio.gather(*works, return_exceptions=True)
    failed = next((result for result in results if isinstance(result, BaseException)), None)
    if failed is not None:
        raise failed
    return [result for result in results if not isinstance(result, BaseException)]
