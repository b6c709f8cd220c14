"""What was answered for each picture, written down as it comes: an interrupted run goes on where it was."""

import base64
import fcntl
import hashlib
import io
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from evaluation.errors import JournalError

Box = tuple[float, float, float, float, float]  # left, top, right, bottom, confidence


class Answer(BaseModel):
    """For one picture: what was asked for, or why there is nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    failed: str | None = None
    embedding: str | None = None  # little-endian float32, in base64
    faces: tuple[Box, ...] = ()

    @classmethod
    def of(cls, embedding: NDArray[np.float32]) -> Self:
        return cls(embedding=base64.b64encode(embedding.astype("<f4").tobytes()).decode())

    def vector(self) -> NDArray[np.float32] | None:
        return None if self.embedding is None else np.frombuffer(base64.b64decode(self.embedding), "<f4")


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    answer: Answer
    crc: int  # of the key and the answer, as they are written

    @classmethod
    def of(cls, key: str, answer: Answer) -> Self:
        return cls(key=key, answer=answer, crc=zlib.crc32(f"{key}{answer.model_dump_json()}".encode()))


class Journal:
    """A file of one JSON object a line, for its owner alone: it holds embeddings, which are biometric data.

    An answer counts for the same content of a picture and the same context, whatever else the file holds. A line that
    is torn, because the process was killed as it wrote, or that is damaged is passed over, and its picture done again.
    """

    def __init__(self, file: Path, context: Sequence[str]) -> None:
        """context: what besides the picture makes the answer, as the models and the settings.

        Raises JournalError where another process has the file open, OSError where it can't be opened.
        """
        self.file = file
        self._context = hashlib.sha256("\0".join(context).encode()).digest()
        file.parent.mkdir(parents=True, exist_ok=True)
        self._open = _locked(file)
        while not _is_at(file, self._open):  # another evaluation was done with it, and removed it, before the lock
            self._open.close()
            self._open = _locked(file)
        os.fchmod(self._open.fileno(), 0o600)  # also where the file was there before
        self._answers = self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def key(self, content: bytes) -> str:
        return hashlib.sha256(self._context + hashlib.sha256(content).digest()).hexdigest()

    def get(self, key: str) -> Answer | None:
        return self._answers.get(key)

    def add(self, key: str, answer: Answer) -> None:
        self._answers[key] = answer
        self._open.write(_Line.of(key, answer).model_dump_json().encode() + b"\n")

    def remove(self) -> None:
        self.file.unlink()

    def _read(self) -> dict[str, Answer]:
        *lines, torn = self._open.read().split(b"\n")
        if torn:
            self._open.truncate(self._open.tell() - len(torn))
        answers = {}
        for line in lines:
            try:
                read = _Line.model_validate_json(line)
            except ValidationError:
                continue
            if read == _Line.of(read.key, read.answer):
                answers[read.key] = read.answer
        return answers


def _locked(file: Path) -> io.FileIO:
    opened = io.FileIO(os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+")
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        opened.close()
        raise JournalError(f"another evaluation is at work in {file.parent}: give this one another --out") from None
    return opened


def _is_at(file: Path, opened: io.FileIO) -> bool:
    try:
        return os.path.samestat(file.stat(), os.fstat(opened.fileno()))
    except FileNotFoundError:
        return False
