"""How faces are looked for: in the whole picture first, then, where that is not enough, from farther away or closer."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal

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
from faces.looks import PATCHES, Look, Tile, closer, farther, mosaics, patches, tiles, turned, whole
from memory import ImageMemory
from models.catalog import DetectorSpec
from runners.errors import RunnerBusyError, RunnerUnavailableError
from stages import stage
from threads import Threads

log = logging.getLogger("facebento.pipeline")

Rows = Any  # arrays with a row for each canvas, or for each candidate

# So many faces, or signs of them, that are small on the canvas of the whole picture make a crowd: there may be more.
CROWD: Final = 3
# On that canvas; for each pixel that a face needs to be found.
SMALL: Final = 2
# Canvases of one picture that are with the detector at a time: others need not wait for long behind them.
TILES_AT_ONCE: Final = 4
MOST_TILES: Final = 200
# Of what the detector needs to be sure of a face, its size and its score: what is no more than a sign of one is looked
# at once more, enlarged. Finding the smallest faces takes half the tiles so (docs/accuracy.md).
SIGN_SIZE: Final = 0.85
SIGN_SCORE: Final = 0.2


@dataclass(frozen=True, slots=True)
class SearchOptions:
    # When a picture is searched in tiles, for faces too small on the canvas of the whole picture. auto: where that
    # shows nobody, or a crowd.
    small_faces: Literal["auto", "always", "never"]
    smallest_face: int  # pixels of the picture
    rotations: bool  # whether pictures that don't tell which side is up are looked at in four turns
    # From this score on faces are told, where it is below the detector's threshold: for an evaluation. The weaker ones
    # have no say in how closely a picture is searched, nor in which others are told.
    told_from: float = 1.0


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture, and what was found in it so far."""

    header: Header
    view: View  # of the whole picture
    oriented: bool  # whether the file told which side is up
    rows: Sequence[Rows] = ()  # what read_candidates gave for each canvas
    faces: Sequence[Face] = ()
    weaker: Sequence[Face] = ()  # than the detector's threshold asks for
    small: int = 0  # faces, and signs of them, that are small on the canvas of the whole picture

    def best(self, order: Order, limit: int) -> list[Face]:
        return select([*self.faces, *self.weaker], order, limit, width=self.view.width, height=self.view.height)


class Search:
    def __init__(
        self,
        detect: Callable[[Rows], Awaitable[Rows]],
        detector: DetectorSpec,
        size: int,
        options: SearchOptions,
        *,
        threads: Threads,
        memory: ImageMemory,
        at_once: int,
    ) -> None:
        """detect: a runner's method, canvases uint8 [n, size, size, 3] -> candidates float32 [n, K, 15].

        at_once: the pictures that are searched in tiles at a time. Each takes as long as a hundred others may.
        """
        self._detect = detect
        self._detector = detector
        self._size = size
        self._options = options
        self._threads = threads
        self._memory = memory
        self._at_once = at_once
        self._searches = asyncio.Semaphore(at_once)
        self._waiting = 0
        self._sign_score = (SIGN_SCORE if options.small_faces != "never" else 1) * detector.score_threshold
        self._told_score = min(options.told_from, detector.score_threshold)
        self._read_score = min(self._sign_score, self._told_score)
        # Twice: as a message to the runner they are copied.
        self.look_bytes = 2 * 3 * size**2 * (4 if options.rotations else 1)

    def whole(self, picture: Picture) -> Look:
        return whole(picture, self._size)

    async def first(self, header: Header, look: Look) -> Scene:
        """What the whole picture shows; from farther away, where that is nobody."""
        scene = Scene(header, look.views[0][0], look.oriented)
        with stage("detect"):
            scene = await self._look(scene, look)
            if not scene.faces:
                scene = await self._look(scene, await self._threads.run(farther, look))
        return scene

    def done(self, scene: Scene, order: Order, limit: int) -> bool:
        """Whether tiles are not to be looked at for the faces asked for."""
        wanted = self._options.small_faces
        if wanted == "never" or not self._tiles(scene):
            return True
        if order is Order.AREA and len(scene.faces) >= limit:
            return True  # what the whole picture shows is larger than what only a tile does
        if order is Order.AREA and limit == 1 and wanted == "auto":
            return True  # to be compared, in most cases, and for that a face of a tile is too small
        return wanted == "auto" and bool(scene.faces) and scene.small < CROWD

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
        looks_bytes = TILES_AT_ONCE * self.look_bytes
        async with self._turn(), self._memory.hold(scene.header.peak_bytes(1) + looks_bytes) as held:
            with stage("decode"):
                picture = await held.in_thread(self._threads, decode)
            held.shrink(picture.pixels.nbytes + looks_bytes)

            async def look_at(wanted: Sequence[Tile], show: Callable[..., Look], at_once: int) -> list[Rows]:
                seen: list[Rows] = []
                for start in range(0, len(wanted), at_once):
                    drawn = partial(show, picture, wanted[start : start + at_once], self._size)
                    look = await held.in_thread(self._threads, drawn)
                    if look.views:
                        answers, views = await self._ask(look)
                        seen += await self._threads.run(self._read, answers, views)
                return seen

            with stage("detect"):
                rows = [*scene.rows, *await look_at(self._tiles(scene), closer, TILES_AT_ONCE)]
                again = await self._threads.run(self._unsure, scene, rows)
                rows += await look_at(again, mosaics, TILES_AT_ONCE * PATCHES)
                return await self._threads.run(partial(self._merged, scene, rows, of_tiles=True))

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        self._waiting += 1
        try:
            await self._searches.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._searches.release()

    def _tiles(self, scene: Scene) -> list[Tile]:
        return tiles(
            scene.view.width,
            scene.view.height,
            self._size,
            face=round(SIGN_SIZE * self._detector.smallest_face),
            smallest=self._options.smallest_face,
            most=MOST_TILES,
        )

    async def _look(self, scene: Scene, look: Look) -> Scene:
        answers, views = await self._ask(look)

        def merged() -> Scene:
            return self._merged(scene, [*scene.rows, *self._read(answers, views)], of_tiles=False)

        return await self._threads.run(merged)

    async def _ask(self, look: Look) -> tuple[Rows, list[list[View]]]:
        """The detector's answer for each canvas, and what the canvas shows."""
        if self._options.rotations and not look.oriented:
            look = await self._threads.run(turned, look)
        return await self._detect(look.canvases), look.views

    def _read(self, answers: Rows, views: list[list[View]]) -> list[Rows]:
        if not all(usable(candidates, self._read_score) for candidates in answers):
            log.error("the detector answered numbers that are not finite: its model or device fails")
            raise RunnerUnavailableError("The detector failed: it answered no numbers. See the service's log.")
        return [
            read_candidates(candidates, view, score_threshold=self._read_score)
            for candidates, shown in zip(answers, views, strict=True)
            for view in shown
        ]

    def _unsure(self, scene: Scene, rows: list[Rows]) -> list[Tile]:
        """The patches in which there may be faces that are too small to be told from what looks like one."""
        best = suppress(rows, iou_threshold=self._detector.iou_threshold)
        signs = best[(best[:, 4] > self._sign_score) & (best[:, 4] <= self._detector.score_threshold)]
        return patches(signs, scene.view.width, scene.view.height, most=MOST_TILES)

    def _merged(self, scene: Scene, rows: list[Rows], *, of_tiles: bool) -> Scene:
        """The scene with what all its canvases showed."""
        threshold, view = self._detector.score_threshold, scene.view
        best = suppress(rows, iou_threshold=self._detector.iou_threshold)
        sure = best[best[:, 4] > threshold]
        weaker = best[(best[:, 4] > self._told_score) & (best[:, 4] <= threshold)]
        small = SMALL * self._detector.smallest_face * view.across
        return replace(
            scene,
            rows=rows,
            faces=read_faces(without_parts(sure) if of_tiles else sure, width=view.width, height=view.height),
            weaker=read_faces(weaker, width=view.width, height=view.height),
            small=int((longer_sides(best[best[:, 4] > self._sign_score]) < small).sum()),
        )
