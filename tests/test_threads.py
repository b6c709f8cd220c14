import asyncio
import gc
import threading
import weakref

import pytest

from threads import Threads


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
