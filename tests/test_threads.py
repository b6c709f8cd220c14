import asyncio
import contextlib
import gc
import subprocess
import sys
import threading
import weakref
from contextvars import ContextVar
from functools import partial
from pathlib import Path

import pytest

import stages
from memory import ImageMemory
from stages import Work
from threads import Threads

ROOT = Path(__file__).parent.parent


class Upload:
    """What work refers to."""

    def read(self) -> None:
        pytest.fail("nobody waits for it")


def test_as_many_work_at_a_time_as_there_are_threads() -> None:
    async def scenario() -> None:
        threads = Threads(2, "test")
        go_on = threading.Event()
        begun = [threads.start(lambda: go_on.wait(10)) for _ in range(2)]
        third = asyncio.create_task(threads.run(threading.get_native_id))
        await asyncio.sleep(0.05)
        assert not third.done()
        go_on.set()
        assert await third != threading.get_native_id()
        await asyncio.gather(*(each.done for each in begun))

    asyncio.run(scenario())


def test_one_event_loop_after_another_can_use_them() -> None:
    threads = Threads(1, "test")

    async def scenario() -> None:
        assert await asyncio.gather(*(threads.run(int, text) for text in "123")) == [1, 2, 3]

    asyncio.run(scenario())
    asyncio.run(scenario())


def test_what_is_cancelled_while_it_waits_is_let_go_of() -> None:
    async def scenario() -> None:
        threads = Threads(1, "test")
        go_on = threading.Event()
        busy = threads.start(lambda: go_on.wait(10))
        upload = Upload()
        seen = weakref.ref(upload)
        waiting = asyncio.create_task(threads.run(upload.read))
        del upload
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        del waiting
        gc.collect()
        assert seen() is None
        go_on.set()
        await busy.done
        assert await threads.run(int) == 0

    asyncio.run(scenario())


def test_what_fails_when_nobody_waits_any_more_is_not_told_and_frees_its_thread(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        threads = Threads(1, "test")
        go_on = threading.Event()

        def fail() -> None:
            go_on.wait(10)
            raise ValueError

        request = asyncio.create_task(threads.run(fail))
        await asyncio.sleep(0.05)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        go_on.set()
        assert await threads.run(int) == 0

    asyncio.run(scenario())
    gc.collect()
    assert not caplog.records


def test_what_came_first_begins_first() -> None:
    async def scenario() -> None:
        threads = Threads(1, "test")
        go_on = threading.Event()
        begun: list[int] = []
        threads.start(partial(go_on.wait, 10))
        jobs = [threads.start(partial(begun.append, number)) for number in range(5)]
        go_on.set()
        await asyncio.gather(*(job.done for job in jobs))
        assert begun == [0, 1, 2, 3, 4]

    asyncio.run(scenario())


def test_an_idle_thread_keeps_nothing_of_its_last_work() -> None:
    async def scenario() -> None:
        threads = Threads(1, "test")
        upload = Upload()
        seen = weakref.ref(upload)
        gave: asyncio.Future[list[Upload]] = threads.start(partial(list[Upload], [upload])).done
        assert await gave == [upload]
        await until_idle(threads, 1)
        del upload, gave
        async with asyncio.timeout(5):
            while seen() is not None:  # noqa: ASYNC110  there is no event to wait for
                await asyncio.sleep(0.001)

    asyncio.run(scenario())


def test_what_waits_begins_without_a_turn_of_the_event_loop() -> None:
    async def scenario() -> None:
        threads = Threads(1, "test")
        ended = threading.Event()
        threads.start(int)
        threads.start(ended.set)
        assert ended.wait(10)

    asyncio.run(scenario())


async def until_idle(threads: Threads, count: int) -> None:
    async with asyncio.timeout(10):
        while len(threads._waiting._idle) != count:  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("last", [0, 1])
def test_of_the_idle_threads_the_one_that_worked_last_is_taken(last: int) -> None:
    async def scenario() -> None:
        threads = Threads(2, "test")
        go_on = [threading.Event(), threading.Event()]
        idents: dict[int, int] = {}

        def work(number: int) -> None:
            idents[number] = threading.get_native_id()
            go_on[number].wait(10)

        jobs = [threads.start(partial(work, number)) for number in range(2)]
        await until_idle(threads, 0)
        for count, number in enumerate((1 - last, last), start=1):
            go_on[number].set()
            await jobs[number].done
            await until_idle(threads, count)
        for _ in range(3):
            assert await threads.run(threading.get_native_id) == idents[last]
            await until_idle(threads, 2)

    asyncio.run(scenario())


def test_work_is_done_or_withdrawn_and_never_both() -> None:
    switching = sys.getswitchinterval()
    began: list[int] = []

    async def scenario() -> None:
        threads = Threads(2, "test")
        jobs = []
        for number in range(3000):
            jobs.append(threads.start(partial(began.append, number)))
            if number % 3:
                jobs[-(number % 3)].withdraw()  # this one or the one before
        await asyncio.wait([job.done for job in jobs])
        assert [number for number, job in enumerate(jobs) if not job.done.cancelled()] == sorted(began)

    sys.setswitchinterval(1e-6)
    try:
        asyncio.run(scenario())
    finally:
        sys.setswitchinterval(switching)
    assert len(began) >= 1000  # those that were not to be withdrawn


def test_what_has_begun_is_not_withdrawn() -> None:
    async def scenario() -> None:
        threads = Threads(1, "test")
        begun, go_on = threading.Event(), threading.Event()

        def work() -> str:
            begun.set()
            go_on.wait(10)
            return "done"

        job = threads.start(work)
        assert begun.wait(10)
        job.withdraw()
        assert not job.done.cancelled()
        go_on.set()
        assert await job.done == "done"
        job.withdraw()
        assert job.done.result() == "done"

    asyncio.run(scenario())


def test_who_waits_learns_of_a_failure_and_the_thread_goes_on() -> None:
    async def scenario() -> None:
        threads = Threads(1, "test")
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 // 0)
        async with asyncio.timeout(10):
            assert await threads.run(int) == 0

    asyncio.run(scenario())


def test_work_is_done_in_the_context_of_whoever_asked_and_its_wait_is_counted_once() -> None:
    async def scenario() -> None:
        threads = Threads(1, "test")
        go_on = threading.Event()
        busy = threads.start(partial(go_on.wait, 10))
        work = Work("id")
        stages.current.set(work)
        asked = asyncio.create_task(threads.run(stages.current.get))
        await asyncio.sleep(0)
        stages.current.set(None)
        assert threads._waiting._jobs
        go_on.set()
        assert await asked is work
        assert [name for name, _ in work.spent] == ["queue"]
        await busy.done

    asyncio.run(scenario())


def test_the_threads_end_with_the_pool_when_all_is_done() -> None:
    async def scenario() -> None:
        threads = Threads(2, "collected")
        go_on = threading.Event()
        jobs = [threads.start(partial(go_on.wait, 10)) for _ in range(3)]
        workers = [each for each in threading.enumerate() if each.name.startswith("collected_")]
        assert len(workers) == 2
        del threads
        gc.collect()
        go_on.set()
        assert await asyncio.gather(*(job.done for job in jobs)) == [True] * 3
        for worker in workers:
            await asyncio.to_thread(worker.join, 10)
            assert not worker.is_alive()

    asyncio.run(scenario())


def test_idle_threads_end_with_the_pool() -> None:
    async def scenario() -> None:
        threads = Threads(2, "idle")
        await threads.run(int)
        await until_idle(threads, 2)
        workers = [each for each in threading.enumerate() if each.name.startswith("idle_")]
        assert len(workers) == 2
        del threads
        gc.collect()
        for worker in workers:
            await asyncio.to_thread(worker.join, 10)
            assert not worker.is_alive()

    asyncio.run(scenario())


def test_a_pool_that_was_not_used_has_no_threads() -> None:
    before = threading.active_count()
    Threads(5, "unused")
    assert threading.active_count() == before


@pytest.mark.parametrize("fails", [False, True])
def test_an_event_loop_that_closes_before_its_work_is_done_harms_nothing(fails: bool) -> None:
    threads = Threads(1, "test")
    go_on = threading.Event()

    def work() -> None:
        go_on.wait(10)
        assert not fails

    async def left() -> None:
        threads.start(work)

    async def after() -> None:
        async with asyncio.timeout(10):
            assert await threads.run(int) == 0

    asyncio.run(left())
    go_on.set()
    asyncio.run(after())


# Native code, as decoders and onnxruntime are, on a thread that the interpreter ends is ended with the whole process.
ENDS_AT_WORK = """
import asyncio, threading, time
import cv2, numpy as np
from threads import Threads

begun, threads = threading.Event(), Threads(1, "test")

def work():
    pixels = np.zeros((300, 300, 3), np.uint8)
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        cv2.GaussianBlur(pixels, (31, 31), 5)
        begun.set()
    print("done", flush=True)

async def request():
    threads.start(work)
    begun.wait()

asyncio.run(request())
"""


def test_a_process_that_ends_waits_for_what_its_threads_have_begun() -> None:
    ended = subprocess.run([sys.executable, "-c", ENDS_AT_WORK], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr


@pytest.mark.parametrize("held", [False, True])
def test_what_failed_is_let_go_of_without_the_garbage_collector(held: bool) -> None:
    async def scenario() -> None:
        threads, memory = Threads(1, "test"), ImageMemory(1)
        upload = Upload()
        seen = weakref.ref(upload)

        async def request(upload: Upload) -> None:
            def work() -> None:
                raise ValueError(upload)

            with contextlib.suppress(ValueError):
                if held:
                    async with memory.hold(1) as hold:
                        await hold.in_thread(threads, work)
                else:
                    await threads.run(work)

        await asyncio.create_task(request(upload))
        del upload
        await threads.run(int)  # the thread has turned to something else
        await asyncio.sleep(0)
        assert seen() is None

    gc.disable()
    try:
        asyncio.run(scenario())
    finally:
        gc.enable()


def test_what_is_withdrawn_lets_go_of_its_context_too() -> None:
    async def scenario() -> None:
        threads = Threads(1, "test")
        go_on = threading.Event()
        busy = threads.start(lambda: go_on.wait(10))
        request: ContextVar[Upload | None] = ContextVar("request", default=None)
        upload = Upload()
        seen = weakref.ref(upload)
        token = request.set(upload)
        job = threads.start(int)
        request.reset(token)
        del upload, token
        job.withdraw()
        gc.collect()
        assert seen() is None
        go_on.set()
        await busy.done

    asyncio.run(scenario())


def test_a_stop_iteration_reaches_who_waits() -> None:
    async def scenario() -> None:
        async with asyncio.timeout(5):
            await Threads(1, "test").run(next, iter(()))

    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(scenario())
