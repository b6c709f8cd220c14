import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from evaluation.journal import Answer, Journal
from evaluation.run import Photo, answers
from faces.errors import ImageCorruptError
from runners.errors import RunnerUnavailableError

PICTURES = [f"{number}.jpg" for number in range(6)]


class Asked:
    """Answers with what is in the picture, as if it were a reason. At most `limit` times, if that is given."""

    def __init__(self, limit: int | None = None, end: BaseException | None = None) -> None:
        self.contents: list[str] = []
        self._limit, self._end = limit, end

    async def __call__(self, photo: Photo) -> Answer:
        if self._end is not None and len(self.contents) == self._limit:
            raise self._end
        content = photo.read().decode()
        self.contents.append(content)
        if content == "broken":
            raise ImageCorruptError("It can't be decoded.")
        return Answer(failed=content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for picture in PICTURES:
        (tmp_path / picture).write_text(picture)
    return tmp_path


def run(
    folder: Path, asked: Callable[[Photo], Awaitable[Answer]], *pictures: str, context: str = "model"
) -> dict[str, Answer]:
    done: list[None] = []
    with Journal(folder / "answers.jsonl", [context]) as journal:
        work = answers(pictures or PICTURES, folder, asked, journal, at_once=2, done=lambda: done.append(None))
        found = asyncio.run(work)
    assert len(done) == len(found)
    return found


def test_each_picture_is_asked_about_once_and_two_at_a_time(folder: Path) -> None:
    asked, pair, inside = Asked(), asyncio.Barrier(2), 0

    async def two_at_a_time(photo: Photo) -> Answer:
        nonlocal inside
        inside += 1
        assert inside <= 2
        await asyncio.wait_for(pair.wait(), 30)
        answer = await asked(photo)
        inside -= 1
        return answer

    found = run(folder, two_at_a_time, *PICTURES, *PICTURES)
    assert found == {picture: Answer(failed=picture) for picture in PICTURES}
    assert sorted(asked.contents) == PICTURES


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit(143), RunnerUnavailableError("It is gone.")])
def test_an_interrupted_run_goes_on_where_it_was(folder: Path, end: BaseException) -> None:
    first, second = Asked(limit=3, end=end), Asked()
    with pytest.raises(type(end)):
        run(folder, first)
    assert run(folder, second) == {picture: Answer(failed=picture) for picture in PICTURES}
    # The one that was in work beside the third may have been answered, or not.
    again = set(first.contents) & set(second.contents)
    assert sorted({*first.contents, *second.contents}) == PICTURES
    assert len(again) <= 1
    assert len(second.contents) < len(PICTURES)


def test_a_picture_that_has_changed_is_asked_about_again(folder: Path) -> None:
    run(folder, Asked())
    (folder / PICTURES[2]).write_text("another")
    asked = Asked()
    assert run(folder, asked)[PICTURES[2]] == Answer(failed="another")
    assert asked.contents == ["another"]


def test_all_are_asked_about_again_with_another_model(folder: Path) -> None:
    run(folder, Asked())
    asked = Asked()
    run(folder, asked, context="other")
    assert sorted(asked.contents) == PICTURES


def test_a_picture_that_cannot_be_read_has_its_reason(folder: Path) -> None:
    (folder / PICTURES[0]).write_text("broken")
    (folder / PICTURES[1]).unlink()
    (folder / PICTURES[1]).mkdir()
    found = run(folder, Asked())
    assert found[PICTURES[0]] == Answer(failed="It can't be decoded.")
    assert found[PICTURES[1]] == Answer(failed="Is a directory")
    assert found[PICTURES[2]] == Answer(failed=PICTURES[2])
