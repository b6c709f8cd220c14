import asyncio
import io
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from faces import image
from faces.detection import Order
from faces.errors import FeatureInvalidError, FeatureModelMismatchError, ImageCorruptError, ImageWrongSizeError
from faces.image import Picture
from faces.templates import ARCFACE_TEMPLATE
from models.catalog import describe
from pipeline import Pipeline
from runners.errors import RunnerUnavailableError
from runners.step import Step
from search import SearchOptions
from threads import Threads

T = TypeVar("T")
Floats = NDArray[np.float32]
DETECTOR = describe("centerface")
EMBEDDER = describe("dlib-resnet-v1")


@dataclass
class Upload:
    """A field of a request. before_read runs on the thread that decodes."""

    content: bytes
    field: str = "image"
    before_read: Callable[[], None] = lambda: None

    def read(self) -> bytes:
        self.before_read()
        return self.content


def picture(grey: int = 0, size: tuple[int, int] = (640, 640)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (grey, grey, grey)).save(file, "PNG")
    return file.getvalue()


def found(left: float, top: float, side: float, score: float) -> list[float]:
    """A candidate: its landmarks lie in the box as in an aligned crop."""
    points = np.array(ARCFACE_TEMPLATE) / 112 * side + (left, top)
    return [left, top, left + side, top + side, score, *points.ravel().tolist()]


@dataclass
class Runners:
    """Both runners. What is detected in an image goes by how grey it is; an embedding points where its crop's number
    of the batch says, and every batch is remembered.
    """

    by_grey: dict[int, Sequence[list[float]]]
    canvases: list[NDArray[np.uint8]] = field(default_factory=list)
    crops: list[NDArray[np.uint8]] = field(default_factory=list)

    async def detect(self, canvases: NDArray[np.uint8]) -> Floats:
        return self.detect_here(canvases)

    async def embed(self, crops: NDArray[np.uint8]) -> Floats:
        return self.embed_here(crops)

    def detect_here(self, canvases: NDArray[np.uint8]) -> Floats:
        self.canvases.append(canvases)
        answer = np.zeros((len(canvases), 8, 15), np.float32)
        for row, canvas in zip(answer, canvases, strict=True):
            rows = self.by_grey.get(int(canvas[0, 0, 0]), ())
            row[: len(rows)] = np.array(rows, np.float32).reshape(-1, 15)
        return answer

    def embed_here(self, crops: NDArray[np.uint8]) -> Floats:
        self.crops.append(crops)
        return np.eye(len(crops), 128, dtype=np.float32)

    def pipeline(
        self,
        memory: int = 100_000_000,
        small_faces: Literal["auto", "always", "never"] = "auto",
        *,
        rotations: bool = False,
        here: bool = False,
        threads: Threads | None = None,
    ) -> Pipeline:
        """here: as where the runners live in this process and compute on the CPU."""
        return Pipeline(
            detect=self.detect,
            embed=self.embed,
            detector=DETECTOR,
            embedder=EMBEDDER,
            threads=threads or Threads(2, "decode"),
            max_pixels=30_000_000,
            max_image_memory_bytes=memory,
            search=SearchOptions(small_faces, 12, 200, rotations),
            detect_here=self.detect_here if here else None,
            embed_here=self.embed_here if here else None,
        )


SMALL, LARGE, MIDDLE = found(10, 20, 50, 0.9), found(100, 200, 200, 0.6), found(400, 20, 100, 0.8)
TWO = 10  # the grey of an image with two faces and a half
ONE = 20
NONE = 30


@pytest.fixture
def runners() -> Runners:
    weak = found(500, 500, 100, 0.4)
    return Runners({TWO: [SMALL, MIDDLE, LARGE, weak], ONE: [LARGE]})


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def test_faces_come_in_the_order_and_number_asked_for(runners: Runners) -> None:
    pipeline = runners.pipeline()
    for order, lefts in (
        (Order.CONFIDENCE, [10, 400, 100]),
        (Order.AREA, [100, 400, 10]),
        (Order.LEFT_TO_RIGHT, [10, 100, 400]),
        (Order.CENTRE, [100, 400, 10]),
    ):
        faces = run(pipeline.detect(Upload(picture(TWO)), order, 750))
        assert [face.left for face in faces] == lefts
        assert [face.left for face in run(pipeline.detect(Upload(picture(TWO)), order, 2))] == lefts[:2]
    assert all(canvas.shape == (1, 640, 640, 3) for canvas in runners.canvases)
    assert all(canvas.dtype == np.uint8 for canvas in runners.canvases)
    assert runners.crops == []


def test_faces_are_in_pixels_of_the_image_and_not_of_the_canvas(runners: Runners) -> None:
    [face] = run(runners.pipeline().detect(Upload(picture(ONE, (320, 160))), Order.AREA, 1))
    # The canvas shows the image twice as large; the box ends where the image does.
    assert (face.left, face.top, face.right, face.bottom) == (50, 100, 150, 160)


def test_no_face_is_no_faces(runners: Runners) -> None:
    pipeline = runners.pipeline()
    upload = Upload(picture(NONE))
    assert run(pipeline.detect(upload, Order.AREA, 750)) == []
    assert run(pipeline.embed_largest(upload)) is None
    assert run(pipeline.embed_all(upload, 128)) == []
    assert runners.crops == []


def test_of_several_faces_the_largest_alone_is_embedded(runners: Runners) -> None:
    answer = run(runners.pipeline().embed_largest(Upload(picture(TWO))))
    assert answer is not None
    face, embedding = answer
    assert face.left == 100
    assert embedding.shape == (128,)
    assert [crops.shape for crops in runners.crops] == [(1, 150, 150, 3)]
    assert runners.crops[0].dtype == np.uint8


def test_all_faces_of_an_image_are_one_batch(runners: Runners) -> None:
    pairs = run(runners.pipeline().embed_all(Upload(picture(TWO)), 128))
    assert [face.left for face, _ in pairs] == [10, 400, 100]
    assert [int(embedding.argmax()) for _, embedding in pairs] == [0, 1, 2]
    assert [len(crops) for crops in runners.crops] == [3]


def test_only_the_faces_asked_for_are_embedded(runners: Runners) -> None:
    pairs = run(runners.pipeline().embed_all(Upload(picture(TWO)), 2))
    assert [face.left for face, _ in pairs] == [10, 400]
    assert [len(crops) for crops in runners.crops] == [2]


def test_an_aligned_crop_is_embedded_without_a_detector(runners: Runners) -> None:
    embedding = run(runners.pipeline().embed_aligned(Upload(picture(50, (112, 112)))))
    assert embedding.shape == (128,)
    assert runners.canvases == []
    assert [crops.shape for crops in runners.crops] == [(1, 150, 150, 3)]
    assert (runners.crops[0][0, 60:90, 60:90] == 50).all()


@pytest.mark.parametrize("size", [(112, 113), (113, 112), (1, 1), (224, 224)])
def test_a_crop_of_another_size_is_refused(runners: Runners, size: tuple[int, int]) -> None:
    with pytest.raises(ImageWrongSizeError, match=f"{size[0]} x {size[1]} pixels") as told:
        run(runners.pipeline().embed_aligned(Upload(picture(0, size), "image")))
    assert told.value.field == "image"
    assert runners.crops == []


def test_two_images_are_compared_by_their_largest_faces_in_one_batch(runners: Runners) -> None:
    comparison = run(runners.pipeline().compare(Upload(picture(TWO)), Upload(picture(ONE))))
    assert [face and face.left for face in comparison.faces] == [100, 100]
    assert [len(crops) for crops in runners.crops] == [2]
    assert len(runners.canvases) == 2
    # The two embeddings are at right angles.
    assert EMBEDDER.embedder is not None
    assert comparison.score == EMBEDDER.embedder.score.score(0)


def test_the_crops_compared_are_in_the_order_of_the_images(runners: Runners) -> None:
    runners.by_grey = {200: [LARGE], 100: [LARGE]}
    run(runners.pipeline().compare(Upload(picture(200)), Upload(picture(100))))
    assert [int(crop[75, 75, 0]) for crop in runners.crops[0]] == [200, 100]


@pytest.mark.parametrize(
    ("first", "second", "there"),
    [(NONE, ONE, [False, True]), (ONE, NONE, [True, False]), (NONE, NONE, [False, False])],
)
def test_without_a_face_the_score_is_zero_and_nothing_is_embedded(
    runners: Runners, first: int, second: int, there: list[bool]
) -> None:
    comparison = run(runners.pipeline().compare(Upload(picture(first)), Upload(picture(second))))
    assert comparison.score == 0
    assert [face is not None for face in comparison.faces] == there
    assert runners.crops == []


def test_of_two_broken_images_the_first_is_blamed(runners: Runners) -> None:
    pipeline = runners.pipeline()
    slow = Upload(b"\xff\xd8\xff", "image1", lambda: time.sleep(0.05))
    with pytest.raises(ImageCorruptError) as told:
        run(pipeline.compare(slow, Upload(b"", "image2")))
    assert told.value.field == "image1"
    with pytest.raises(ImageCorruptError) as told:
        run(pipeline.compare(Upload(picture(ONE), "image1"), Upload(b"", "image2")))
    assert told.value.field == "image2"
    assert runners.crops == []


def test_a_feature_compares_as_its_image_did(runners: Runners) -> None:
    pipeline = runners.pipeline()
    pairs = run(pipeline.embed_all(Upload(picture(TWO)), 2))
    first, second = (Upload(pipeline.feature(embedding)) for _, embedding in pairs)
    assert run(pipeline.compare_features(first, first)) == 1
    assert run(pipeline.compare_features(first, second)) < 0.1
    assert run(pipeline.compare_features(first, second)) == run(pipeline.compare_features(second, first))


def test_a_broken_feature_is_blamed_by_its_field(runners: Runners) -> None:
    pipeline = runners.pipeline()
    whole = pipeline.feature(np.ones(128, np.float32))
    with pytest.raises(FeatureInvalidError) as told:
        run(pipeline.compare_features(Upload(whole, "feature1"), Upload(whole[:-1], "feature2")))
    assert told.value.field == "feature2"
    with pytest.raises(FeatureInvalidError) as told:
        run(pipeline.compare_features(Upload(b"", "feature1"), Upload(b"", "feature2")))
    assert told.value.field == "feature1"
    foreign = pipeline.feature(np.ones(64, np.float32))
    with pytest.raises(FeatureModelMismatchError):
        run(pipeline.compare_features(Upload(whole), Upload(foreign)))


def test_the_event_loop_goes_on_while_an_image_is_decoded(runners: Runners) -> None:
    threads: list[str] = []

    def slowly() -> None:
        threads.append(threading.current_thread().name)
        time.sleep(0.2)

    async def scenario() -> int:
        ticks = 0
        work = asyncio.create_task(runners.pipeline().detect(Upload(picture(ONE), before_read=slowly), Order.AREA, 1))
        while not work.done():
            await asyncio.sleep(0.002)
            ticks += 1
        assert len(await work) == 1
        return ticks

    assert run(scenario()) > 20
    assert threads[0] != threading.main_thread().name


def test_both_images_of_a_comparison_are_decoded_at_the_same_time(runners: Runners) -> None:
    meeting = threading.Barrier(2, timeout=10)

    def meet() -> None:
        meeting.wait()

    first, second = (Upload(picture(ONE), name, meet) for name in ("image1", "image2"))
    assert run(runners.pipeline().compare(first, second)).faces[0] is not None


def test_a_runner_that_is_down_is_told(runners: Runners, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(_: Any) -> Floats:
        raise RunnerUnavailableError("down")

    monkeypatch.setattr(runners, "embed", gone)
    with pytest.raises(RunnerUnavailableError, match="down"):
        run(runners.pipeline().embed_largest(Upload(picture(ONE))))


@pytest.mark.parametrize("value", [0, float("nan")])
def test_an_embedder_that_answers_no_vectors_is_no_likeness(
    runners: Runners, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, value: float
) -> None:
    async def broken(crops: Any) -> Floats:
        return np.full((len(crops), 128), value, np.float32)

    monkeypatch.setattr(runners, "embed", broken)
    with pytest.raises(RunnerUnavailableError, match="embedder failed"):
        run(runners.pipeline().compare(Upload(picture(ONE)), Upload(picture(ONE))))
    assert "unit length" in caplog.text


@pytest.mark.parametrize(("detector", "embedder"), [(EMBEDDER, DETECTOR), (DETECTOR, DETECTOR), (EMBEDDER, EMBEDDER)])
def test_a_model_of_the_other_role_is_refused(runners: Runners, detector: Any, embedder: Any) -> None:
    with pytest.raises(TypeError, match="must be a detector"):
        Pipeline(
            detect=runners.detect,
            embed=runners.embed,
            detector=detector,
            embedder=embedder,
            threads=Threads(1, "decode"),
            max_pixels=1,
            max_image_memory_bytes=1,
            search=SearchOptions("never", 12, 200, rotations=False),
        )


def photo(size: tuple[int, int], grey: int = 0, fmt: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.new("L", size, grey).save(file, fmt, quality=95)
    return file.getvalue()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The reduction of each picture that is decoded."""
    reductions: list[int] = []

    def decode(data: bytes, *, max_pixels: int, reduction: int = 1) -> Picture:
        reductions.append(reduction)
        return image.decode(data, max_pixels=max_pixels, reduction=reduction)

    monkeypatch.setattr("opening.decode_image", decode)
    return reductions


def test_a_large_jpeg_is_decoded_reduced_and_its_faces_are_in_pixels_of_the_whole(
    runners: Runners, decoded: list[int]
) -> None:
    faces = run(runners.pipeline().detect(Upload(photo((2563, 2561), TWO)), Order.CONFIDENCE, 1))
    assert decoded == [2]
    # The canvas shows the picture to its last pixel, which is half a pixel of the reduced one.
    per = 2563 / 640
    assert [(face.left, face.top) for face in faces] == [pytest.approx((10 * per, 20 * 2561 / 640), rel=1e-5)]


def test_a_face_that_needs_more_than_the_detector_does_is_cut_from_the_picture_decoded_anew(
    runners: Runners, decoded: list[int]
) -> None:
    # Of 5200 pixels reduced by 4, the faces of 50, 100 and 200 pixels of the canvas have 102, 203 and 406.
    pipeline = runners.pipeline()
    pairs = run(pipeline.embed_all(Upload(photo((5200, 5200), TWO)), 128))
    assert [face.confidence for face, _ in pairs] == pytest.approx([0.9, 0.8, 0.6])
    assert sorted(decoded, reverse=True) == [4, 2]
    assert sorted(len(crops) for crops in runners.crops) == [1, 2]
    assert pipeline.memory.free_bytes == 100_000_000


def test_a_face_has_the_same_embedding_whatever_is_asked_about_its_picture(runners: Runners) -> None:
    pipeline, upload = runners.pipeline(), Upload(photo((5200, 5200), TWO))
    run(pipeline.embed_all(upload, 128))
    several = [crop for crops in runners.crops for crop in crops]
    runners.crops.clear()
    run(pipeline.embed_largest(upload))
    run(pipeline.embed_all(upload, 1))
    run(pipeline.compare(upload, upload))
    alone = [crop for crops in runners.crops for crop in crops]
    assert len(alone) == 4
    assert all(any(np.array_equal(crop, other) for other in several) for crop in alone)


def test_a_crowd_is_embedded_in_batches(runners: Runners, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.CROPS_AT_ONCE", 2)
    pairs = run(runners.pipeline().embed_all(Upload(picture(TWO)), 128))
    assert [face.left for face, _ in pairs] == [10, 400, 100]
    assert [len(crops) for crops in runners.crops] == [2, 1]


def test_an_aligned_crop_of_another_size_is_refused_before_it_is_decoded(runners: Runners, decoded: list[int]) -> None:
    with pytest.raises(ImageWrongSizeError):
        run(runners.pipeline().embed_aligned(Upload(photo((5000, 5000)))))
    assert decoded == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("column", [0, 4, 14])
def test_a_detector_that_answers_no_numbers_is_not_an_image_without_faces(
    runners: Runners, caplog: pytest.LogCaptureFixture, value: float, column: int
) -> None:
    broken = list(LARGE)
    broken[column] = value
    runners.by_grey[ONE] = [SMALL, broken]
    pipeline = runners.pipeline()
    with pytest.raises(RunnerUnavailableError, match="detector failed"):
        run(pipeline.detect(Upload(picture(ONE)), Order.AREA, 1))
    with pytest.raises(RunnerUnavailableError, match="detector failed"):
        run(pipeline.compare(Upload(picture(TWO)), Upload(picture(ONE))))
    assert "not finite" in caplog.text
    assert runners.crops == []
    assert pipeline.memory.free_bytes == 100_000_000


def test_pictures_wait_for_memory_and_not_for_each_others_answers(runners: Runners) -> None:
    # Each takes most of what there is while it is decoded, and what is kept of it fits three times.
    width, height = 1000, 1000
    pipeline = runners.pipeline(memory=26_000_000)
    answer, two = asyncio.Event(), asyncio.Event()
    busy: list[int] = []

    async def detect(canvases: NDArray[np.uint8]) -> Floats:
        busy.append(pipeline.memory.free_bytes)
        if len(busy) == 2:
            two.set()
        await answer.wait()
        return await Runners.detect(runners, canvases)

    async def scenario() -> None:
        pipeline._search._detect = Step("detect", detect, None, pipeline._threads)
        tasks = [
            asyncio.create_task(pipeline.embed_largest(Upload(photo((width, height), ONE, "PNG")))) for _ in range(4)
        ]
        await two.wait()
        assert min(busy) >= 0
        tasks[0].cancel()
        tasks[3].cancel()
        answer.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(each, asyncio.CancelledError) for each in done] == [True, False, False, True]
        assert all(each[0].left > 0 for each in done[1:3] if isinstance(each, tuple))
        assert pipeline.memory.free_bytes == 26_000_000

    run(scenario())


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff", photo((500, 500))[:-200]])
def test_a_broken_picture_gives_its_memory_back(runners: Runners, content: bytes) -> None:
    pipeline = runners.pipeline()
    for other in (photo((2000, 2000), TWO), content):
        with pytest.raises(ImageCorruptError):
            run(pipeline.compare(Upload(content), Upload(other)))
    assert pipeline.memory.free_bytes == 100_000_000


def test_a_comparison_larger_than_all_memory_is_made_alone(runners: Runners) -> None:
    pipeline = runners.pipeline(memory=1)
    upload = Upload(photo((1500, 1500), ONE))

    async def several() -> list[Any]:
        return await asyncio.gather(*(pipeline.compare(upload, upload) for _ in range(3)))

    assert [comparison.faces[0] is not None for comparison in run(several())] == [True] * 3
    assert pipeline.memory.free_bytes == 1
