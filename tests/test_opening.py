"""How uploads are opened: the jobs and the holds of memory that it takes, and what becomes of the memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, TypeVar

import pytest

from faces.detection import Order
from faces.errors import ImageCorruptError, ImageTooManyPixelsError
from faces.image import read_header
from memory import Hold, ImageMemory
from pipeline import ORDINARY_SHARE, Pipeline
from runners.errors import RunnerUnavailableError
from tests.e2e.running import black_png
from tests.test_pipeline import LARGE, NONE, ONE, SMALL, TWO, Runners, Upload, photo
from threads import Job, Threads

T = TypeVar("T")
HERE = pytest.mark.parametrize("here", [True, False], ids=["here", "elsewhere"])

SMALL_SIDE, LARGE_SIDE = 320, 640
KEPT_BYTES = 3 * LARGE_SIDE**2


def peak_bytes(side: int) -> int:
    return read_header(photo((side, side)), max_pixels=10**9).peak_bytes(1)


# With so much memory, what is held for a picture before its header is read is enough for the small side, and not for
# the large one.
BETWEEN = ORDINARY_SHARE * (peak_bytes(SMALL_SIDE) + peak_bytes(LARGE_SIDE)) // 2
PLENTY = ORDINARY_SHARE * 2 * peak_bytes(LARGE_SIDE)


@cache
def upload(side: int, name: str = "image", grey: int = ONE) -> Upload:
    return Upload(photo((side, side), grey), name)


def cut_off(side: int, name: str) -> Upload:
    """A picture whose header is whole."""
    return Upload(photo((side, side))[:-100], name)


@pytest.fixture
def runners() -> Runners:
    return Runners({ONE: [LARGE], TWO: [SMALL, LARGE]})


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], Any]]:
    """What threads were asked to do."""
    asked: list[Callable[[], Any]] = []
    start = Threads.start

    def noted(threads: Threads, work: Callable[[], T]) -> Job[T]:
        asked.append(work)
        return start(threads, work)

    monkeypatch.setattr(Threads, "start", noted)
    return asked


@pytest.fixture
def holds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes that were asked for, of each hold."""
    asked: list[int] = []
    hold = ImageMemory.hold

    @asynccontextmanager
    async def noted(memory: ImageMemory, size: int) -> AsyncIterator[Hold]:
        asked.append(size)
        assert len(asked) <= 10, "it tries again and again"
        async with hold(memory, size) as held:
            yield held

    monkeypatch.setattr(ImageMemory, "hold", noted)
    return asked


def run(work: Coroutine[Any, Any, T]) -> T:
    async def in_time() -> T:
        async with asyncio.timeout(30):
            return await work

    return asyncio.run(in_time())


@HERE
def test_an_ordinary_picture_takes_one_hold_and_one_job_and_its_face_one_more(
    runners: Runners, jobs: list[Any], holds: list[int], here: bool
) -> None:
    each = 1 if here else 2  # elsewhere, the answer is read by a job of its own
    pipeline = runners.pipeline(PLENTY, here=here)
    assert len(run(pipeline.detect(upload(LARGE_SIDE), Order.AREA, 1))) == 1
    assert (len(jobs), len(holds)) == (each, 1)
    assert run(pipeline.embed_largest(upload(LARGE_SIDE))) is not None
    assert (len(jobs), len(holds)) == (each + 2 * each, 2)
    jobs.clear()
    run(pipeline.embed_aligned(upload(112)))
    assert (len(jobs), len(holds)) == (each, 3)


def test_two_ordinary_pictures_take_one_hold_and_their_faces_one_batch(
    runners: Runners, jobs: list[Any], holds: list[int]
) -> None:
    pipeline = runners.pipeline(PLENTY, here=True)
    run(pipeline.compare(upload(LARGE_SIDE), upload(SMALL_SIDE)))
    assert (len(jobs), len(holds)) == (2 + 2, 1)
    assert [len(crops) for crops in runners.crops] == [2]


@HERE
@pytest.mark.parametrize("memory", [BETWEEN, PLENTY])
def test_only_what_the_picture_takes_is_held_while_the_models_compute(
    runners: Runners, monkeypatch: pytest.MonkeyPatch, here: bool, memory: int
) -> None:
    free: list[int] = []
    embed = Runners.embed_here

    def noting(runners: Runners, crops: Any) -> Any:
        free.append(pipeline.memory.free_bytes)
        return embed(runners, crops)

    monkeypatch.setattr(Runners, "embed_here", noting)
    pipeline = runners.pipeline(memory, here=here)
    run(pipeline.embed_largest(upload(LARGE_SIDE)))
    assert free == [memory - KEPT_BYTES - pipeline._crop_bytes]


def test_a_detector_elsewhere_is_waited_for_with_no_more_than_the_picture_and_its_looks(runners: Runners) -> None:
    free: list[int] = []
    pipeline = runners.pipeline(PLENTY)
    detect = pipeline._search._detect._call

    async def noting(canvases: Any) -> Any:
        free.append(pipeline.memory.free_bytes)
        return await detect(canvases)

    pipeline._search._detect._call = noting
    run(pipeline.embed_largest(upload(LARGE_SIDE)))
    run(pipeline.detect(upload(LARGE_SIDE), Order.AREA, 1))  # which needs the picture no more
    looks = pipeline._search.look_bytes
    assert free == [PLENTY - KEPT_BYTES - looks - pipeline._crop_bytes, PLENTY - looks]


@HERE
def test_a_larger_picture_is_opened_again_with_as_much_as_it_takes(
    runners: Runners, jobs: list[Any], holds: list[int], here: bool
) -> None:
    pipeline = runners.pipeline(BETWEEN, here=here)
    [face] = run(pipeline.detect(upload(LARGE_SIDE), Order.AREA, 1))
    assert face.left == 100
    assert len(runners.canvases) == 1
    assert [size - pipeline._search.look_bytes for size in holds] == [BETWEEN // ORDINARY_SHARE, peak_bytes(LARGE_SIDE)]
    assert len(jobs) == (2 if here else 3)
    assert pipeline.memory.free_bytes == BETWEEN


@HERE
@pytest.mark.parametrize(
    ("first", "second"), [(LARGE_SIDE, SMALL_SIDE), (SMALL_SIDE, LARGE_SIDE), (LARGE_SIDE, LARGE_SIDE)]
)
def test_of_two_pictures_one_or_both_may_be_larger(
    runners: Runners, holds: list[int], here: bool, first: int, second: int
) -> None:
    pipeline = runners.pipeline(BETWEEN, here=here)
    comparison = run(pipeline.compare(upload(first), upload(second)))
    assert [face and face.left for face in comparison.faces] == [100 * first / 640, 100 * second / 640]
    assert len(holds) == 2
    assert pipeline.memory.free_bytes == BETWEEN


def test_a_hold_is_capped_at_all_there_is(runners: Runners) -> None:
    held: list[int] = []
    memory = peak_bytes(SMALL_SIDE)
    pipeline = runners.pipeline(memory, here=True)

    def note() -> None:
        held.append(memory - pipeline.memory.free_bytes)

    larger = Upload(photo((LARGE_SIDE, LARGE_SIDE), ONE), before_read=note)
    run(pipeline.embed_largest(larger))
    assert held[-1] == memory
    assert pipeline.memory.free_bytes == memory


FAILURES: dict[str, tuple[bytes, type[Exception]]] = {
    "nothing": (b"", ImageCorruptError),
    "half a picture": (photo((LARGE_SIDE, LARGE_SIDE))[:-100], ImageCorruptError),
    "too many pixels": (black_png(6000, 6000), ImageTooManyPixelsError),
    "detect_here": (photo((LARGE_SIDE, LARGE_SIDE), ONE), RunnerUnavailableError),
    "embed_here": (photo((LARGE_SIDE, LARGE_SIDE), ONE), RunnerUnavailableError),
}


@pytest.mark.usefixtures("holds")
@pytest.mark.parametrize("what", FAILURES)
@pytest.mark.parametrize("memory", [BETWEEN, PLENTY], ids=["larger", "ordinary"])
@HERE
def test_whatever_fails_gives_the_memory_back(
    runners: Runners, monkeypatch: pytest.MonkeyPatch, what: str, memory: int, here: bool
) -> None:
    def fail(_: object, __: object) -> None:
        raise RunnerUnavailableError("down")

    content, error = FAILURES[what]
    if error is RunnerUnavailableError:
        monkeypatch.setattr(Runners, what, fail)
    pipeline = runners.pipeline(memory, here=here)
    with pytest.raises(error):
        run(pipeline.embed_largest(Upload(content)))
    for pair in ((Upload(content), upload(SMALL_SIDE)), (upload(SMALL_SIDE), Upload(content))):
        with pytest.raises(error):
            run(pipeline.compare(*pair))
    assert pipeline.memory.free_bytes == memory


@pytest.mark.parametrize("side", [SMALL_SIDE, LARGE_SIDE], ids=["ordinary", "larger"])
@HERE
def test_of_two_uploads_that_fail_the_first_is_told(runners: Runners, side: int, here: bool) -> None:
    pipeline = runners.pipeline(BETWEEN, here=here)
    for second in (Upload(b"", "image2"), cut_off(SMALL_SIDE, "image2"), cut_off(LARGE_SIDE, "image2")):
        for first, blamed in (
            (cut_off(side, "image1"), "image1"),
            (Upload(b"", "image1"), "image1"),
            (upload(side, "image1"), "image2"),
        ):
            with pytest.raises(ImageCorruptError) as told:
                run(pipeline.compare(first, second))
            assert told.value.field == blamed
    assert pipeline.memory.free_bytes == BETWEEN


class InTurns(Threads):
    """Work is done in turns of the event loop, so that there is a known number of them."""

    def start(self, work: Callable[[], T]) -> Job[T]:
        job = Job(work)
        asyncio.get_running_loop().call_soon(job.run)
        return job


Ask = Callable[[Pipeline], Coroutine[Any, Any, object]]
REQUESTS: dict[str, Ask] = {
    "detect": lambda pipeline: pipeline.detect(upload(LARGE_SIDE), Order.AREA, 1),
    "nobody, so in tiles": lambda pipeline: pipeline.detect(upload(LARGE_SIDE, grey=NONE), Order.AREA, 10),
    "embed": lambda pipeline: pipeline.embed_all(upload(LARGE_SIDE, grey=TWO), 10),
    "embed what is decoded anew": lambda pipeline: pipeline.embed_all(upload(2600, grey=TWO), 10),
    "compare": lambda pipeline: pipeline.compare(upload(LARGE_SIDE), upload(LARGE_SIDE)),
    "aligned": lambda pipeline: pipeline.embed_aligned(upload(112)),
}


AT_LENGTH = ("nobody, so in tiles", "embed what is decoded anew")  # which is the same whatever there was at first


@pytest.mark.parametrize(
    ("request_", "memory"),
    [
        pytest.param(request_, memory, id=f"{name}-{size}")
        for name, request_ in REQUESTS.items()
        for size, memory in (("larger", BETWEEN), ("ordinary", PLENTY))
        if size == "larger" or name not in AT_LENGTH
    ],
)
@HERE
def test_a_request_that_is_cancelled_at_any_time_gives_all_back(
    runners: Runners, request_: Ask, memory: int, here: bool
) -> None:
    pipeline = runners.pipeline(memory, here=here, threads=InTurns(2, "turns"))

    async def cancelled_after(turns: int) -> bool:
        task = asyncio.create_task(request_(pipeline))
        for _ in range(turns):
            await asyncio.sleep(0)
        ended = task.done()
        task.cancel()
        await asyncio.wait([task])
        for _ in range(5):
            await asyncio.sleep(0)
        assert pipeline.memory.free_bytes == memory, turns
        assert pipeline._search._memory_of_searches.free_bytes == memory // 2, turns
        assert pipeline._search._waiting == 0
        return ended

    async def scenario() -> int:
        turns = 0
        while not await cancelled_after(turns):
            turns += 1
        return turns

    assert run(scenario()) > 3
