import asyncio
import time

import pytest

import stages
from stages import Work, decoded, found, refused, stage


@pytest.fixture
def work() -> Work:
    return Work("id")


def within(work: Work, block: object) -> None:
    """Run the coroutine as a server runs a request's."""

    async def request() -> None:
        stages.current.set(work)
        await block  # type: ignore[misc]

    asyncio.run(request())


def test_a_stage_counts_its_time_also_when_it_fails(work: Work) -> None:
    async def block() -> None:
        with stage("decode"):
            began = time.perf_counter()
            while time.perf_counter() == began:
                pass
        with pytest.raises(ValueError, match="bad"), stage("detect"):
            raise ValueError("bad")

    within(work, block())
    assert list(work.seconds) == ["decode", "detect"]
    assert work.seconds["decode"] > 0
    assert work.stage_ended is not None
    assert work.stage_ended > work.began


def test_tasks_of_a_request_count_together(work: Work) -> None:
    async def image() -> None:
        with stage("detect"):
            await asyncio.sleep(0)
        found(2, 300)

    async def block() -> None:
        await asyncio.gather(image(), image())

    within(work, block())
    assert list(work.seconds) == ["detect"]
    assert work.faces == 4
    assert work.found == [(2, 300), (2, 300)]


def test_no_face_is_not_the_same_as_none_looked_for(work: Work) -> None:
    async def block() -> None:
        assert work.faces is None
        found(0, 300)

    within(work, block())
    assert work.faces == 0


def test_outside_a_request_nothing_is_noted() -> None:
    assert stages.current.get() is None
    with stage("decode"):
        found(1, 300)
        decoded(300)
        refused("because")
    assert stages.current.get() is None


def test_one_request_does_not_note_for_another() -> None:
    works = [Work("a"), Work("b")]

    async def request(work: Work) -> None:
        stages.current.set(work)
        await asyncio.sleep(0)
        refused(work.request_id)

    async def both() -> None:
        await asyncio.gather(*map(request, works))

    asyncio.run(both())
    assert [work.reason for work in works] == ["a", "b"]
