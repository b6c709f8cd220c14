"""How faces are looked for: in the whole picture first, then, where that is not enough, from farther away or closer."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal, TypeVar

from faces.detection import (
    Face,
    Order,
    View,
    longer_sides,
    read_candidates,
    read_faces,
    select,
    suppress,
    usable,
    without_parts,
)
from faces.image import Header, Picture
from faces.looks import (
    PATCH,
    Look,
    Tile,
    closer,
    farther,
    levels,
    mosaics,
    patches,
    patches_across,
    tiles,
    turned,
    whole,
)
from memory import Hold, ImageMemory
from models.catalog import DetectorSpec
from runners.errors import RunnerBusyError, RunnerUnavailableError
from runners.step import Rows, Step
from stages import stage
from threads import Threads

log = logging.getLogger("facebento.pipeline")

T = TypeVar("T")

# So many faces, or signs of them, that are smaller on the canvas of the whole picture than what is found as a rule make
# a crowd: there may be more.
CROWD: Final = 3
# Canvases of one picture that are with the detector at a time: others need not wait for long behind them.
CANVASES_AT_ONCE: Final = 4
MOST_PATCHES: Final = 200
# Of what the detector needs to be sure of a face, its size and its score: what is no more than a sign of one is looked
# at once more, enlarged (docs/decisions/0008-search.md).
SIGN_SIZE: Final = 0.85
SIGN_SCORE: Final = 0.2


@dataclass(frozen=True, slots=True)
class SearchOptions:
    # When a picture is searched in tiles, for faces too small on the canvas of the whole picture. auto: where that
    # shows nobody, or a crowd.
    small_faces: Literal["auto", "always", "never"]
    smallest_face: int  # pixels of the picture
    most_tiles: int  # of one picture
    rotations: bool  # whether pictures that don't tell which side is up are looked at in four turns
    # From this score on faces are told, where it is below the detector's threshold: for an evaluation. The weaker ones
    # have no say in how closely a picture is searched, nor in which others are told.
    told_from: float = 1.0


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture, and what was found in it so far."""

    header: Header
    view: View  # of the whole picture
    turn: bool  # whether each canvas is to be looked at in four turns
    rows: Sequence[Rows] = ()  # what read_candidates gave for each canvas, after suppression
    faces: Sequence[Face] = ()
    weaker: Sequence[Face] = ()  # than the detector's threshold asks for
    small: int = 0  # faces, and signs of them, that are small on the canvas of the whole picture

    def best(self, order: Order, limit: int) -> list[Face]:
        return select([*self.faces, *self.weaker], order, limit, width=self.view.width, height=self.view.height)


def searches_at_once(cores: int) -> int:
    """How many pictures are searched in tiles at a time; as many may wait for them."""
    return max(1, cores // CANVASES_AT_ONCE)


class Search:
    def __init__(
        self,
        detect: Step,
        detector: DetectorSpec,
        size: int,
        options: SearchOptions,
        *,
        threads: Threads,
        memory: ImageMemory,
        memory_bytes: int,
    ) -> None:
        """detect: canvases uint8 [n, size, size, 3] -> candidates float32 [n, K, 15].

        threads: by their number goes how many pictures are searched at a time. Each takes as long as a hundred others
        may, and keeps as many cores busy as it has canvases at work.
        """
        self._detect = detect
        self._detector = detector
        self._size = size
        self._options = options
        self._turns = 4 if options.rotations else 1
        self._sign_face = round(SIGN_SIZE * detector.smallest_face)
        self._sign_score = (SIGN_SCORE if options.small_faces != "never" else 1) * detector.score_threshold
        self._told_score = min(options.told_from, detector.score_threshold)
        self._read_score = min(self._sign_score, self._told_score)
        self._patches_across = patches_across(size, detector.smallest_face)
        self._threads = threads
        self._memory = memory
        # Searches last for seconds. With half of the memory at most, they leave others enough to go on.
        self._memory_of_searches = ImageMemory(memory_bytes // 2)
        self._at_once = searches_at_once(threads.count)
        self._searches = asyncio.Semaphore(self._at_once)
        self._waiting = 0
        # A canvas, the one from farther away, and both in all turns and as a message to the runner.
        self.look_bytes = 3 * size**2 * (2 + 2 * self._turns)

    async def first(
        self, held: Hold, show: Callable[[], tuple[Header, Picture]], *, shown: Callable[[], None]
    ) -> Scene:
        """What the whole picture shows; from farther away, where that is nobody. held: memory for it.

        show: the picture, on a thread. shown: called on the event loop when it is known that this is done.
        """

        def prepare() -> tuple[Rows, tuple[Scene, Look, list[list[View]]]]:
            header, picture = show()
            with stage("detect"):
                look = whole(picture, self._size)
                scene = Scene(header, look.views[0][0], self._options.rotations and not picture.oriented)
                asked = turned(look) if scene.turn else look
            return asked.canvases, (scene, look, asked.views)

        def read(state: tuple[Scene, Look, list[list[View]]], answers: Rows) -> tuple[Scene, Look]:
            scene, look, views = state
            return self._merged(scene, self._read(answers, views), of_tiles=False), look

        scene, look = await self._detect.take(held, prepare, read, prepared=shown)
        if scene.faces:
            return scene
        return await self._ask(
            held, scene, partial(farther, look), lambda rows: self._merged(scene, rows, of_tiles=False)
        )

    def done(self, scene: Scene, order: Order, limit: int) -> bool:
        """Whether tiles are not to be looked at for the faces asked for."""
        wanted = self._options.small_faces
        if wanted == "never":
            return True
        if order is Order.AREA and len(scene.faces) >= limit:
            return True  # what the whole picture shows is larger than what only a tile does
        if wanted == "auto":
            if order is Order.AREA and limit == 1:
                return True  # to be compared, in most cases, and for that a face of a tile is too small
            # Each turn has signs of its own.
            if scene.faces and scene.small < CROWD * (self._turns if scene.turn else 1):
                return True
        return not self._levels(scene)

    async def closer(self, scene: Scene, decode: Callable[[], Picture]) -> Scene:
        """What tiles show, together with what was found before. decode: the picture in full.

        To be called by what holds no memory of images: it waits for some. Raises RunnerBusyError where as many wait as
        are searched.
        """
        if self._waiting >= self._at_once:
            raise RunnerBusyError(
                "Too many large pictures are being searched for small faces. Try again in some seconds, or scale the "
                "picture down."
            )
        looks_bytes = CANVASES_AT_ONCE * self.look_bytes
        async with self._turn(scene.header.peak_bytes(1) + looks_bytes) as held:
            picture = await held.in_thread(self._threads, decode)
            held.shrink(picture.pixels.nbytes + looks_bytes)
            scene = await self._looks(scene, self._shows(scene, picture), held)
            again = await held.in_thread(self._threads, partial(self._unsure, scene))
            return await self._looks(scene, self._second_looks(picture, again), held)

    @asynccontextmanager
    async def _turn(self, size: int) -> AsyncIterator[Hold]:
        """A place among the pictures that are searched, and memory for one."""
        self._waiting += 1
        try:
            with stage("wait"):
                await self._searches.acquire()
        finally:
            self._waiting -= 1
        try:
            async with self._memory_of_searches.hold(size), self._memory.hold(size) as held:
                yield held
        finally:
            self._searches.release()

    def _levels(self, scene: Scene) -> list[int]:
        return levels(
            scene.view.width,
            scene.view.height,
            self._size,
            face=self._sign_face,
            smallest=self._options.smallest_face,
            most=self._options.most_tiles // self._turns,
        )

    def _shows(self, scene: Scene, picture: Picture) -> Iterator[Callable[[], Look]]:
        """What draws each of the looks closer, and the one from farther away where it was not needed before."""
        if scene.faces:
            yield lambda: farther(whole(picture, self._size))
        view = scene.view
        wanted = tiles(view.width, view.height, self._levels(scene), self._size, face=self._sign_face)
        for some in _portions(wanted, max(1, CANVASES_AT_ONCE // self._turns)):
            yield partial(closer, picture, some, self._size)

    def _second_looks(self, picture: Picture, again: Sequence[Tile]) -> Iterator[Callable[[], Look]]:
        across = self._patches_across
        for some in _portions(again, max(1, CANVASES_AT_ONCE // self._turns) * across**2):
            yield partial(mosaics, picture, some, self._size, across=across)

    async def _looks(self, scene: Scene, shows: Iterable[Callable[[], Look]], held: Hold) -> Scene:
        """The scene with what looks at its parts show. shows: draws them, on a thread, one after the other."""
        rows: list[Rows] = []
        for show in shows:
            rows += await self._ask(held, scene, show, lambda found: found)
        return await held.in_thread(self._threads, partial(self._merged, scene, rows, of_tiles=True))

    async def _ask(self, held: Hold, scene: Scene, show: Callable[[], Look], read: Callable[[list[Rows]], T]) -> T:
        """What `read` makes of what was found on each canvas. Both run on a thread."""

        def prepare() -> tuple[Rows, list[list[View]]]:
            with stage("detect"):
                look = turned(show()) if scene.turn else show()
            return look.canvases, look.views

        return await self._detect.take(held, prepare, lambda views, answers: read(self._read(answers, views)))

    def _read(self, answers: Rows, views: list[list[View]]) -> list[Rows]:
        if not all(usable(candidates, self._read_score) for candidates in answers):
            log.error("the detector answered numbers that are not finite: its model or device fails")
            raise RunnerUnavailableError("The detector failed: it answered no numbers. See the service's log.")
        found = [
            read_candidates(candidates, view, score_threshold=self._read_score)
            for candidates, shown in zip(answers, views, strict=True)
            for view in shown
        ]
        # Once for each canvas, so that those of many take no memory; and once more for all of them, in _merged.
        return [suppress([rows], iou_threshold=self._detector.iou_threshold) for rows in found]

    def _unsure(self, scene: Scene) -> list[Tile]:
        """The patches in which there may be faces that are too small to be told from what looks like one."""
        best = suppress(scene.rows, iou_threshold=self._detector.iou_threshold)
        signs = best[(best[:, 4] > self._sign_score) & (best[:, 4] <= self._detector.score_threshold)]
        largest = self._size / self._patches_across / PATCH
        return patches(signs, scene.view.width, scene.view.height, largest=largest, most=MOST_PATCHES)

    def _merged(self, scene: Scene, more: Sequence[Rows], *, of_tiles: bool) -> Scene:
        """The scene with what more canvases showed."""
        threshold, view = self._detector.score_threshold, scene.view
        rows = [*scene.rows, *more]
        best = rows[0] if len(rows) == 1 else suppress(rows, iou_threshold=self._detector.iou_threshold)
        sure = best[best[:, 4] > threshold]
        weaker = best[(best[:, 4] > self._told_score) & (best[:, 4] <= threshold)]
        small = longer_sides(best[best[:, 4] > self._sign_score]) < self._detector.smallest_face * view.across
        return replace(
            scene,
            rows=rows,
            faces=read_faces(without_parts(sure) if of_tiles else sure, width=view.width, height=view.height),
            weaker=read_faces(weaker, width=view.width, height=view.height),
            small=int(small.sum()),
        )


def _portions(every: Sequence[Tile], count: int) -> Iterator[Sequence[Tile]]:
    return (every[start : start + count] for start in range(0, len(every), count))
