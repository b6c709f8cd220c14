import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from runners.cpu import CpuEngine
from runners.onnx import CPU, Placement, cpu_session
from tests.runners.conftest import Answers, Rows, marked, pictures
from threads import Threads


def test_every_row_of_a_batch_is_the_row_alone(graph: bytes, answers: Answers) -> None:
    engine = CpuEngine(cpu_session(graph), Threads(2, "test"))
    assert engine.placement == Placement("cpu", CPU)
    alone = {count: np.concatenate([answers(engine, row[None]) for row in pictures(count)]) for count in range(1, 12)}
    for count, expected in alone.items():
        found = answers(engine, pictures(count))
        assert found.shape == (count, 5)
        assert found.dtype == np.float32
        assert np.array_equal(found, expected)


def test_an_engine_serves_many_callers_at_once(graph: bytes) -> None:
    engine = CpuEngine(cpu_session(graph), Threads(2, "test"))
    counts = [1 + i % 7 for i in range(200)]

    async def scenario() -> None:
        expected = {count: await engine.run(pictures(count)) for count in set(counts)}
        found = await asyncio.gather(*(engine.run(pictures(count)) for count in counts))
        assert all(np.array_equal(answer, expected[count]) for count, answer in zip(counts, found, strict=True))

    asyncio.run(scenario())


class Gated:
    """A session in which each row waits until it is let go, and which counts how many run at a time."""

    placement = Placement("cpu", CPU)
    row = (4, 4, 3)

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.together = self.most = 0
        self.free = True
        self._go = threading.Semaphore(0)
        self._lock = threading.Lock()

    def run(self, rows: Rows) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        with self._lock:
            self.together += 1
            self.most = max(self.most, self.together)
        self.begun.append(int(rows[0, 0, 0, 0]))
        assert self.free or self._go.acquire(timeout=20)
        with self._lock:
            self.together -= 1
        return rows[:, 0, 0, :1].astype(np.float32)

    def let_go(self, rows: int) -> None:
        self._go.release(rows)


@pytest.fixture
def gated() -> Gated:
    return Gated()


def engine_of(gated: Gated, threads: Threads) -> CpuEngine:
    gated.free = True
    engine = CpuEngine(gated, threads)  # type: ignore[arg-type]
    gated.free = False
    gated.begun.clear()
    return engine


async def until_begun(gated: Gated, count: int) -> None:
    async with asyncio.timeout(20):
        while len(gated.begun) < count:  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(0.001)


def test_two_engines_and_other_work_share_the_threads(gated: Gated) -> None:
    async def scenario() -> None:
        threads = Threads(2, "test")
        first, second = engine_of(gated, threads), engine_of(gated, threads)
        gated.together = gated.most = 0
        decoding = threads.start(lambda: gated.run(marked(9)))
        calls = asyncio.gather(first.run(marked(1, 2, 3)), second.run(marked(4)))
        await until_begun(gated, 2)
        await asyncio.sleep(0.05)
        gated.let_go(5)
        assert [answer[:, 0].tolist() for answer in await calls] == [[1, 2, 3], [4]]
        await decoding.done

    asyncio.run(scenario())
    assert sorted(gated.begun) == [1, 2, 3, 4, 9]
    assert gated.most == 2


def test_rows_of_a_call_that_is_cancelled_do_not_begin(gated: Gated) -> None:
    async def scenario() -> None:
        engine = engine_of(gated, Threads(1, "test"))
        gone = asyncio.create_task(engine.run(marked(1, 2, 3)))
        await until_begun(gated, 1)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        gated.let_go(9)
        assert (await engine.run(marked(4))).tolist() == [[4]]
        assert gated.begun == [1, 4]

    asyncio.run(scenario())


def test_a_lone_row_is_handed_over_once_and_its_answer_not_copied(
    gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[object] = []
    start = Threads.start

    def counted(self: Threads, work: Any) -> Any:
        handed.append(work)
        return start(self, work)

    monkeypatch.setattr(Threads, "start", counted)
    monkeypatch.setattr(np, "concatenate", lambda _: pytest.fail("copied"))

    async def scenario() -> None:
        engine = engine_of(gated, Threads(2, "test"))
        gated.let_go(1)
        assert (await engine.run(marked(7))).tolist() == [[7]]

    asyncio.run(scenario())
    assert len(handed) == 1
