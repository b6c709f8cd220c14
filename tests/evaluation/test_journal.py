"""What is kept of a run, and what of it survives an end at any moment."""

import fcntl
import io
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.errors import JournalError
from evaluation.journal import Answer, Journal

ANSWERS = [
    Answer.of(np.array([0.6, -0.8], np.float32)),
    Answer(),
    Answer(failed="no picture: é"),
    Answer(faces=((1.5, 2, 30, 40, 0.25),)),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "out" / "answers.jsonl"


def write(file: Path) -> None:
    with Journal(file, ["model"]) as journal:
        for number, answer in enumerate(ANSWERS):
            journal.add(journal.key(b"%d" % number), answer)


def read(file: Path, *context: str) -> list[Answer | None]:
    with Journal(file, context or ["model"]) as journal:
        return [journal.get(journal.key(b"%d" % number)) for number in range(len(ANSWERS))]


def test_answers_come_back(file: Path) -> None:
    write(file)
    assert read(file) == ANSWERS
    vector = ANSWERS[0].vector()
    assert vector is not None
    np.testing.assert_array_equal(vector, np.array([0.6, -0.8], np.float32))
    assert [answer.vector() for answer in ANSWERS[1:]] == [None] * 3


def test_an_answer_is_of_its_context(file: Path) -> None:
    write(file)
    assert read(file, "other") == [None] * 4
    assert read(file, "mod", "el") == [None] * 4
    assert read(file) == ANSWERS


@pytest.mark.parametrize("cut", [1, 2, 20, 60])
def test_a_torn_last_line_is_done_again(file: Path, cut: int) -> None:
    write(file)
    os.truncate(file, file.stat().st_size - cut)
    assert read(file) == [*ANSWERS[:3], None]
    write(file)
    assert read(file) == ANSWERS


def test_what_is_added_after_a_torn_line_stands_by_itself(file: Path) -> None:
    write(file)
    with file.open("ab") as raw:
        raw.write(b'{"key": "half')
    with Journal(file, ["model"]) as journal:
        journal.add(journal.key(b"new"), ANSWERS[0])
    with Journal(file, ["model"]) as journal:
        assert journal.get(journal.key(b"new")) == ANSWERS[0]
    assert read(file) == ANSWERS


@pytest.mark.parametrize("damage", [b"\0" * 10, b"{}", b"[1]", b'{"key": "k", "answer": {"embedding": 5}}', b"\xff"])
def test_a_damaged_line_is_passed_over(file: Path, damage: bytes) -> None:
    write(file)
    lines = file.read_bytes().split(b"\n")
    lines[1] = damage
    file.write_bytes(b"\n".join(lines))
    assert read(file) == [ANSWERS[0], None, *ANSWERS[2:]]


@pytest.mark.parametrize(
    "damaged",
    [
        lambda line: line | {"answer": line["answer"] | {"embedding": "@@@"}},
        lambda line: line | {"answer": line["answer"] | {"embedding": "AAAA"}},
        lambda line: line | {"answer": line["answer"] | {"embedding": "AAAAAAAAAAA="}},
        lambda line: line | {"answer": line["answer"] | {"embedding": "m" + line["answer"]["embedding"][1:-2] + "4="}},
        lambda line: line | {"answer": line["answer"] | {"failed": "no"}},
        lambda line: line | {"crc": line["crc"] ^ 1},
        lambda line: {name: line[name] for name in ("key", "answer")},
    ],
)
def test_an_answer_in_which_a_bit_has_changed_is_passed_over(
    file: Path, damaged: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    write(file)
    first, *others = file.read_text().split("\n")
    line = json.loads(first)
    assert damaged(line) != line
    file.write_text("\n".join([json.dumps(line), *others]))
    assert read(file) == ANSWERS
    file.write_text("\n".join([json.dumps(damaged(line)), *others]))
    assert read(file) == [None, *ANSWERS[1:]]


def test_a_journal_that_is_removed_before_it_is_locked_is_made_anew(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Journal(file, ["model"])
    lock = fcntl.flock

    def late(opened: io.FileIO, how: int) -> None:
        monkeypatch.undo()
        first.remove()
        first.__exit__(None, None, None)
        lock(opened, how)

    monkeypatch.setattr("fcntl.flock", late)
    write(file)
    assert read(file) == ANSWERS


def test_a_killed_process_leaves_what_it_has_added(file: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from evaluation.journal import Answer, Journal\n"
        "journal = Journal(Path(sys.argv[1]), ['model'])\n"
        "for n in range(3): journal.add(journal.key(b'%d' % n), Answer(failed=str(n)))\n"
        'os.write(journal._open.fileno(), b\'{"key": "begun\'); os.kill(os.getpid(), signal.SIGKILL)'
    )
    killed = subprocess.run([sys.executable, "-c", program, file], check=False, cwd=Path(__file__).parents[2])
    assert killed.returncode == -signal.SIGKILL
    assert read(file) == [*(Answer(failed=str(number)) for number in range(3)), None]


def test_it_is_for_its_owner_alone(file: Path) -> None:
    before = os.umask(0)
    try:
        write(file)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    write(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_it_is_so_from_its_first_moment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fchmod", lambda *_: None)
    before = os.umask(0)
    try:
        write(file)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_two_runs_are_kept_apart(file: Path) -> None:
    with Journal(file, ["model"]), pytest.raises(JournalError, match="give this one another --out"):
        Journal(file, ["model"])
    write(file)


def test_it_goes_when_it_is_no_longer_needed(file: Path) -> None:
    with Journal(file, ["model"]) as journal:
        journal.remove()
    assert not file.exists()
