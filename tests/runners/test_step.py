"""Rows that are prepared, answered and read: where, in which order, and by how many jobs."""

import asyncio
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pytest

import stages
from memory import ImageMemory
from runners.step import Rows, Step
from stages import Work, stage
from threads import Threads

T = TypeVar("T")


class OneError(Exception):
    pass


@dataclass
class Recorder:
    """A runner, and what is done with its rows: notes what happens, and on which thread."""

    threads: Threads = field(default_factory=lambda: Threads(2, "test"))
    memory: ImageMemory = field(default_factory=lambda: ImageMemory(10))
    happened: list[str] = field(default_factory=list)
    on: list[int] = field(default_factory=list)
    jobs: int = 0
    fails: str = ""

    def note(self, what: str) -> None:
        self.happened.append(what)
        self.on.append(threading.get_native_id())
        if what == self.fails:
            raise OneError

    def here(self, rows: Rows) -> Rows:
        self.note("here")
        return rows + 1

    async def call(self, rows: Rows) -> Rows:
        self.note("call")
        return rows + 1

    async def take(self, rows: int, *, here: bool) -> Any:
        """The sum of the answers to rows of zeros, and the state that was handed on."""

        def prepare() -> tuple[Rows, str]:
            with stage("decode"):
                self.note("prepare")
            return np.zeros(rows), "state"

        def read(state: str, answers: Rows) -> tuple[str, float]:
            self.note("read")
            return state, answers.sum()

        step = Step("detect", self.call, self.here if here else None, self.threads)
        async with self.memory.hold(7) as held:
            return await step.take(held, prepare, read, prepared=lambda: self.note("prepared"))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    start = Threads.start

    def counted(threads: Threads, work: Callable[[], T]) -> Any:
        recorder.jobs += 1
        return start(threads, work)

    monkeypatch.setattr(Threads, "start", counted)
    return recorder


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def test_one_row_is_prepared_answered_and_read_by_one_job(recorder: Recorder) -> None:
    assert run(recorder.take(1, here=True)) == ("state", 1)
    assert recorder.happened == ["prepare", "here", "read", "prepared"]
    assert recorder.jobs == 1
    *on_thread, on_loop = recorder.on
    assert len(set(on_thread)) == 1
    assert on_loop == threading.get_native_id() != on_thread[0]


@pytest.mark.parametrize(("rows", "here"), [(1, False), (3, False), (3, True)])
def test_rows_that_go_elsewhere_are_asked_for_once_and_read_on_a_thread(
    recorder: Recorder, rows: int, here: bool
) -> None:
    assert run(recorder.take(rows, here=here)) == ("state", rows)
    assert recorder.happened == ["prepare", "prepared", "call", "read"]
    assert recorder.jobs == 2
    loop = threading.get_native_id()
    assert [each == loop for each in recorder.on] == [False, True, True, False]


@pytest.mark.parametrize("here", [False, True])
def test_without_a_row_the_runner_is_not_asked(recorder: Recorder, here: bool) -> None:
    assert run(recorder.take(0, here=here)) == ("state", 0)
    assert recorder.happened == ["prepare", "prepared", "read"]


@pytest.mark.parametrize(("rows", "here"), [(1, True), (1, False), (3, True)])
def test_the_time_of_each_stage_is_counted_once(recorder: Recorder, rows: int, here: bool) -> None:
    work = Work("id")

    async def request() -> None:
        stages.current.set(work)
        await recorder.take(rows, here=here)

    run(request())
    one_job = {"queue": 1, "decode": 1, "detect": 1}
    assert Counter(name for name, _ in work.spent) - Counter(memory=1) == (
        one_job if here and rows == 1 else {"queue": 2, "decode": 1, "detect": 2}  # the call, and reading its answer
    )


@pytest.mark.parametrize(
    ("fails", "here"),
    [("prepare", True), ("here", True), ("read", True), ("prepare", False), ("call", False), ("read", False)],
)
def test_whatever_fails_is_told_and_ends_it_there(recorder: Recorder, fails: str, here: bool) -> None:
    recorder.fails = fails
    with pytest.raises(OneError):
        run(recorder.take(1, here=here))
    assert recorder.happened[-1] == fails
    assert Counter(recorder.happened).most_common(1)[0][1] == 1
    assert recorder.memory.free_bytes == 10


def test_the_rows_are_let_go_of_when_they_are_answered(recorder: Recorder) -> None:
    rows = [np.zeros(3)]
    seen = weakref.ref(rows[0])

    def gone() -> bool:
        end = time.monotonic() + 5
        while seen() is not None and time.monotonic() < end:
            time.sleep(0.001)  # the thread that prepared them may have yet to let go
        return seen() is None

    async def scenario() -> bool:
        step = Step("detect", recorder.call, None, recorder.threads)
        async with recorder.memory.hold(1) as held:
            return await step.take(held, lambda: (rows.pop(), None), lambda _, __: gone())

    assert asyncio.run(scenario())


def test_the_wait_of_several_rows_for_threads_of_this_process_counts_as_the_models_stage_alone(
    recorder: Recorder,
) -> None:
    async def call(rows: Rows) -> Rows:
        return await recorder.threads.run(np.negative, rows)

    async def scenario() -> list[str]:
        work = Work("request")
        stages.current.set(work)
        step = Step("embed", call, recorder.here, recorder.threads)
        async with recorder.memory.hold(1) as held:
            await step.take(held, lambda: (np.zeros(2), None), lambda _, answers: answers)
        return [name for name, _ in work.spent]

    # The first to prepare, the last to read; the call's own is in its stage.
    assert asyncio.run(scenario()) == ["memory", "queue", "embed", "queue", "embed"]
