"""How closely a picture is searched, with a detector that finds red squares.

As real ones do, it finds neither what is too small nor what is too large, and is unsure of what is small.
"""

import asyncio
import io
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from faces.detection import Face, Order
from faces.image import Picture
from faces.looks import whole
from models.catalog import ModelDescription, describe
from pipeline import Pipeline
from runners.errors import RunnerBusyError, RunnerUnavailableError
from search import CANVASES_AT_ONCE, SearchOptions, searches_at_once
from threads import Threads

T = TypeVar("T")
Floats = NDArray[np.float32]
EMBEDDER = describe("dlib-resnet-v1")
MOST_TILES = 200
SMALLEST, LARGEST = 28, 500  # on the canvas, for a score of 0.9
SIGN = 22  # for one of 0.2


def detector() -> ModelDescription:
    described = describe("centerface")
    assert described.detector is not None
    spec = described.detector.model_copy(update={"smallest_face": SMALLEST})
    return described.model_copy(update={"detector": spec})


@dataclass
class Upload:
    content: bytes
    field: str = "image"

    def read(self) -> bytes:
        return self.content


def photo(
    *squares: tuple[int, int, int], size: tuple[int, int] = (1200, 900), fmt: str = "PNG", orientation: int = 0
) -> Upload:
    """Red squares (left, top, side) on a picture of blurred noise, in which no tile is without contrast."""
    random = np.random.default_rng(1)
    coarse = random.integers(60, 120, (size[1] // 50 + 1, size[0] // 50 + 1, 1), np.uint8)
    pixels = cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)[:, :, None].repeat(3, axis=2)
    for left, top, side in squares:
        pixels[top : top + side, left : left + side] = (255, 0, 0)
    exif = Image.Exif()
    if orientation:
        exif[ExifTags.Base.Orientation] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, fmt, exif=exif, **({"quality": 95} if fmt == "JPEG" else {"compress_level": 1}))
    return Upload(file.getvalue())


@dataclass
class RedSquares:
    """The detector. Remembers the size of each batch, and can be made to wait."""

    batches: list[int] = field(default_factory=list)
    gate: asyncio.Event | None = None
    crops: list[NDArray[np.uint8]] = field(default_factory=list)

    async def detect(self, canvases: NDArray[np.uint8]) -> Floats:
        self.batches.append(len(canvases))
        if self.gate is not None:
            await self.gate.wait()
        return np.stack([self._rows(canvas) for canvas in canvases])

    def _rows(self, canvas: NDArray[np.uint8]) -> Floats:
        red = ((canvas[:, :, 0] > 170) & (canvas[:, :, 1] < 60)).astype(np.uint8)
        _, _, regions, _ = cv2.connectedComponentsWithStats(red, connectivity=4)
        rows = np.zeros((64, 15), np.float32)
        squares = [region[:4] for region in regions[1:] if SIGN <= max(region[2:4]) <= LARGEST][:64]
        for row, (left, top, width, height) in zip(rows, squares, strict=False):
            points = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
            score = 0.9 if max(width, height) >= SMALLEST else 0.2
            row[:5] = left, top, left + width, top + height, score
            row[5:] = (points * (width, height) + (left, top)).ravel()
        return rows

    async def embed(self, crops: NDArray[np.uint8]) -> Floats:
        self.crops.append(crops)
        return np.eye(len(crops), 128, dtype=np.float32)

    def pipeline(
        self,
        small_faces: Literal["auto", "always", "never"] = "auto",
        *,
        memory: int = 500_000_000,
        rotations: bool = False,
        cores: int = 2,
    ) -> Pipeline:
        return Pipeline(
            detect=self.detect,
            embed=self.embed,
            detector=detector(),
            embedder=EMBEDDER,
            threads=Threads(cores, "decode"),
            max_pixels=30_000_000,
            max_image_memory_bytes=memory,
            search=SearchOptions(small_faces, 12, MOST_TILES, rotations),
        )


@pytest.fixture
def runners() -> RedSquares:
    return RedSquares()


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def boxes(found: Sequence[Face]) -> list[tuple[int, int, int]]:
    return sorted((round(face.left), round(face.top), round(face.right - face.left)) for face in found)


# On the canvas of the whole picture TINY has 6 to 8 pixels, MEDIUM 19, SIGNS 24, SMALL 32 and LARGE 120.
TINY = [(100, 100, 12), (700, 333, 14), (1186, 3, 12), (640, 700, 13), (5, 884, 15), (900, 800, 12)]
MEDIUM = [(300, 300, 36), (500, 600, 36), (1000, 200, 36)]
SIGNS = [(300, 100, 45), (500, 100, 45), (740, 100, 45)]
SMALL = [(300, 300, 60), (500, 600, 60), (1000, 200, 60)]
LARGE = (390, 390, 225)


def test_where_nobody_is_seen_small_faces_are_looked_for(runners: RedSquares) -> None:
    found = run(runners.pipeline().detect(photo(*TINY, *MEDIUM), Order.CONFIDENCE, 750))
    assert len(found) == len(TINY) + len(MEDIUM)  # each once, although it lies in several tiles and in a patch
    for (left, top, side), square in zip(boxes(found), sorted([*TINY, *MEDIUM]), strict=True):
        np.testing.assert_allclose((left, top, side), square, atol=1)


@pytest.mark.parametrize(
    ("squares", "searched"), [([LARGE], False), (SMALL, False), ([LARGE, *SIGNS[:2]], False), ([LARGE, *SIGNS], True)]
)
def test_a_crowd_is_searched_and_a_few_people_are_not(
    runners: RedSquares, squares: list[tuple[int, int, int]], searched: bool
) -> None:
    found = run(runners.pipeline().detect(photo(*squares, *TINY), Order.CONFIDENCE, 750))
    sure = [square for square in squares if square not in SIGNS]
    assert len(found) == (len(squares) + len(TINY) if searched else len(sure))
    assert (sum(runners.batches) > 1) == searched


@pytest.mark.parametrize("small_faces", ["always", "never"])
def test_a_setting_has_the_last_word(runners: RedSquares, small_faces: Literal["always", "never"]) -> None:
    pipeline = runners.pipeline(small_faces)
    with_one = run(pipeline.detect(photo(LARGE, *TINY), Order.CONFIDENCE, 750))
    without = run(pipeline.detect(photo(*TINY), Order.CONFIDENCE, 750))
    small = len(TINY) if small_faces == "always" else 0
    assert (len(with_one), len(without)) == (1 + small, small)


def test_for_the_largest_faces_nobody_looks_at_tiles_once_there_are_enough(runners: RedSquares) -> None:
    pipeline = runners.pipeline("always")
    upload = photo(LARGE, *TINY)
    assert boxes(run(pipeline.detect(upload, Order.AREA, 1))) == [LARGE]
    assert runners.batches == [1]
    assert len(run(pipeline.detect(upload, Order.AREA, 3))) == 3
    assert sum(runners.batches) > 2


def test_for_a_face_to_compare_nobody_looks_at_tiles_unless_told_to(runners: RedSquares) -> None:
    assert run(runners.pipeline().embed_largest(photo(*TINY))) is None
    assert run(runners.pipeline().detect(photo(*TINY), Order.AREA, 1)) == []
    assert runners.batches == [1] * 4
    assert len(run(runners.pipeline().detect(photo(*TINY), Order.AREA, 2))) == 2


def test_a_face_that_fills_the_frame_is_found_from_farther_away(runners: RedSquares) -> None:
    upload = photo((10, 10, 980), size=(1000, 1000))
    [face] = run(runners.pipeline("never").detect(upload, Order.AREA, 1))
    np.testing.assert_allclose((face.left, face.top, face.right, face.bottom), (10, 10, 990, 990), atol=7)
    assert runners.batches == [1, 1]


def test_a_small_picture_is_looked_at_as_a_whole_only(runners: RedSquares) -> None:
    assert run(runners.pipeline("always").detect(photo(size=(320, 240)), Order.AREA, 1)) == []
    assert runners.batches == [1, 1]


def test_the_largest_pictures_have_no_more_tiles_than_others(runners: RedSquares) -> None:
    upload = photo((3000, 2000, 40), size=(5000, 3600), fmt="JPEG")
    assert len(run(runners.pipeline().detect(upload, Order.CONFIDENCE, 750))) == 1
    assert 150 < sum(runners.batches) <= MOST_TILES + 3
    assert max(runners.batches) == CANVASES_AT_ONCE


def test_a_small_face_is_cut_out_of_the_whole_picture(runners: RedSquares) -> None:
    upload = photo((1500, 800, 16), size=(2600, 1400), fmt="JPEG")
    pipeline = runners.pipeline("always")
    found = run(pipeline.embed_largest(upload))
    assert found is not None
    [crops] = runners.crops
    # Half a pixel beside the square would show: the crop's middle is red to its last pixel.
    assert (crops[0, 60:90, 60:90, 0] > 180).all()
    [(face, _)] = run(pipeline.embed_all(upload, 750))
    assert boxes([face]) == boxes([found[0]])


def test_two_pictures_are_searched_for_a_comparison(runners: RedSquares) -> None:
    pipeline = runners.pipeline("always")
    comparison = run(pipeline.compare(photo(TINY[0]), photo(LARGE)))
    assert [boxes([face]) for face in comparison.faces if face] == [[TINY[0]], [LARGE]]
    assert pipeline.memory.free_bytes == 500_000_000


def test_searches_wait_for_memory_without_holding_any(runners: RedSquares) -> None:
    """Each needs half of it for its picture, and all of it for its search: held together, both would wait forever."""
    pipeline = runners.pipeline(memory=40_000_000)

    async def several() -> list[Any]:
        uploads = [photo(TINY[0], LARGE), photo(*TINY), photo(TINY[0], LARGE), photo(*SIGNS, *TINY)]
        return await asyncio.gather(*(pipeline.embed_all(upload, 750) for upload in uploads))

    answers = run(asyncio.wait_for(several(), 60))
    assert [len(each) for each in answers] == [1, 6, 1, 9]
    assert pipeline.memory.free_bytes == 40_000_000


def test_no_more_pictures_are_searched_at_a_time_than_keep_the_cores_busy(
    runners: RedSquares, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of seven one is searched and one waits for it; the others are sent away, and may come again."""
    detect, at_a_time, most = RedSquares.detect, 0, 0

    async def slow(self: RedSquares, canvases: NDArray[np.uint8]) -> Floats:
        nonlocal at_a_time, most
        if len(canvases) == 1:
            return await detect(self, canvases)
        at_a_time += 1
        most = max(most, at_a_time)
        await sent_away.wait()
        at_a_time -= 1
        return await detect(self, canvases)

    monkeypatch.setattr(RedSquares, "detect", slow)
    pipeline = runners.pipeline()
    sent_away = asyncio.Event()

    async def scenario() -> list[Any]:
        upload = photo(*TINY)
        tasks = [asyncio.create_task(pipeline.detect(upload, Order.CONFIDENCE, 9)) for _ in range(7)]
        for early in asyncio.as_completed(tasks):
            with pytest.raises(RunnerBusyError, match="Try again"):
                await early
            if sum(task.done() for task in tasks) == 5:
                break
        sent_away.set()
        return await asyncio.gather(*(task for task in tasks if not task.done()))

    assert [len(each) for each in run(scenario())] == [6] * 2
    assert most == 1
    assert len(run(pipeline.detect(photo(*TINY), Order.CONFIDENCE, 9))) == 6


@pytest.mark.parametrize(("cores", "at_once"), [(1, 1), (2, 1), (4, 1), (8, 2), (16, 4)])
def test_more_pictures_are_searched_where_there_are_more_cores(cores: int, at_once: int) -> None:
    assert searches_at_once(cores) == at_once


def test_a_search_that_nobody_waits_for_leaves_its_place(runners: RedSquares) -> None:
    pipeline = runners.pipeline()
    upload = photo(*TINY)

    async def scenario() -> None:
        runners.gate = asyncio.Event()
        runners.gate.set()
        tasks = [asyncio.create_task(pipeline.detect(upload, Order.CONFIDENCE, 9)) for _ in range(2)]
        while not tasks[0].done():
            await asyncio.wait(tasks, timeout=0.01)
            if max(runners.batches, default=0) > 1:
                runners.gate.clear()
                for task in tasks:
                    task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in done)
        runners.gate.set()
        assert len(await pipeline.detect(upload, Order.CONFIDENCE, 9)) == 6
        assert pipeline.memory.free_bytes == 500_000_000

    run(scenario())


def test_searches_leave_half_of_the_memory_to_others(runners: RedSquares, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two have the cores for it, and the memory; but together they would take more than the half."""
    detect, at_a_time, most = RedSquares.detect, 0, 0

    async def counted(self: RedSquares, canvases: NDArray[np.uint8]) -> Floats:
        nonlocal at_a_time, most
        at_a_time += len(canvases) > 1
        most = max(most, at_a_time)
        for _ in range(20):  # the other one comes to its turn, if it has one
            await asyncio.sleep(0.001)
        at_a_time -= len(canvases) > 1
        return await detect(self, canvases)

    monkeypatch.setattr(RedSquares, "detect", counted)

    async def two(memory: int) -> None:
        pipeline = runners.pipeline(memory=memory, cores=8)
        await asyncio.gather(*(pipeline.detect(photo(*TINY), Order.CONFIDENCE, 9) for _ in range(2)))

    run(two(60_000_000))
    assert most == 1
    run(two(200_000_000))
    assert most == 2


def test_a_search_looks_from_farther_away_too(runners: RedSquares) -> None:
    giant, bystander = (10, 10, 800), (830, 830, 60)
    upload = photo(giant, bystander, size=(900, 900))
    assert boxes(run(runners.pipeline("never").detect(upload, Order.CONFIDENCE, 9))) == [bystander]
    found = run(runners.pipeline("always").detect(upload, Order.CONFIDENCE, 9))
    assert [round(face.right - face.left, -1) for face in sorted(found, key=lambda face: face.left)] == [800, 60]


def test_parts_of_faces_are_left_out_where_tiles_were_looked_at(
    runners: RedSquares, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.without_parts", lambda rows: rows[:0])
    assert run(runners.pipeline("always").detect(photo(*SMALL), Order.CONFIDENCE, 9)) == []
    assert len(run(runners.pipeline("never").detect(photo(*SMALL), Order.CONFIDENCE, 9))) == 3


def test_of_each_canvas_only_what_suppression_leaves_is_kept(runners: RedSquares) -> None:
    search = runners.pipeline()._search
    look = whole(Picture(np.zeros((900, 1200, 3), np.uint8), 1200, 900), 640)
    [rows] = search._read(np.repeat(runners._rows(_canvas_with_a_square()), 50, axis=0)[None], look.views)
    assert len(rows) == 1


def _canvas_with_a_square() -> NDArray[np.uint8]:
    canvas = np.zeros((640, 640, 3), np.uint8)
    canvas[100:150, 100:150] = (255, 0, 0)
    return canvas


def test_numbers_that_are_none_are_no_faces_in_tiles_either(
    runners: RedSquares, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rows = RedSquares._rows

    def broken(self: RedSquares, canvas: NDArray[np.uint8]) -> Floats:
        found = rows(self, canvas)
        return found * np.nan if len(self.batches) > 4 else found

    monkeypatch.setattr(RedSquares, "_rows", broken)
    pipeline = runners.pipeline()
    with pytest.raises(RunnerUnavailableError, match="detector failed"):
        run(pipeline.detect(photo(*TINY), Order.CONFIDENCE, 9))
    assert "not finite" in caplog.text
    assert pipeline.memory.free_bytes == 500_000_000


@pytest.mark.parametrize(("orientation", "canvases"), [(0, 4), (1, 1), (6, 1), (99, 4)])
def test_pictures_that_tell_which_side_is_up_are_not_turned(
    runners: RedSquares, orientation: int, canvases: int
) -> None:
    upload = photo((100, 100, 300), size=(600, 500), fmt="JPEG", orientation=orientation)
    assert len(run(runners.pipeline(rotations=True).detect(upload, Order.CONFIDENCE, 9))) == 1
    assert runners.batches == [canvases]
