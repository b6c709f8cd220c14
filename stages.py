"""What becomes of one request: noted where it happens, told by the log and the metrics (api/access.py)."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from tracing import Trace


@dataclass(slots=True)
class Work:
    """One request in work."""

    request_id: str
    began: float = field(default_factory=time.perf_counter)
    # Name and seconds of each stage, as they ended. Threads append to it as well.
    spent: list[tuple[str, float]] = field(default_factory=list)
    stage_ended: float | None = None  # when the last one did, on the clock of `began`
    found: list[tuple[int, int]] = field(default_factory=list)  # of each image: faces in it, and its pixels
    decoded: list[int] = field(default_factory=list)  # pixels of each picture that was decoded; an image may be twice
    reason: str = ""  # why it is refused: a 422's type, or the name of another error
    trace: Trace | None = None  # where its stages are told as spans

    @property
    def faces(self) -> int | None:
        """Found in all its images; None where none were looked for."""
        return sum(faces for faces, _ in self.found) if self.found else None

    @property
    def seconds(self) -> dict[str, float]:
        """By stage, in the order in which they first ended. Two at the same time, as for two images, count as their
        sum.
        """
        total: dict[str, float] = {}
        for name, seconds in list(self.spent):
            total[name] = total.get(name, 0.0) + seconds
        return total

    def spend(self, name: str, since: float) -> None:
        """Count the time from `since`, on the clock of `began`, as the stage's."""
        ended = self.count(name, since)
        if self.trace:
            self.trace.add(name, since, ended)

    def count(self, name: str, since: float) -> float:
        """The same, without a span. Returns when it ended, which is now."""
        self.stage_ended = ended = time.perf_counter()
        self.spent.append((name, ended - since))
        return ended


# A request's tasks have copies of its context, with the same object in them; threads.py hands it to threads.
current: ContextVar[Work | None] = ContextVar("work", default=None)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Count the time of this block as the stage's."""
    work = current.get()
    if work is None:
        yield
        return
    began = time.perf_counter()
    try:
        if work.trace is None:
            yield
        else:
            with work.trace.during(name, began):
                yield
    finally:
        work.count(name, began)


@contextmanager
def aside() -> Iterator[None]:
    """Count nothing of what begins inside: it is part of a stage that is counted already."""
    token = current.set(None)
    try:
        yield
    finally:
        current.reset(token)


def found(faces: int, pixels: int) -> None:
    """Note that an image of so many pixels has that many faces."""
    if work := current.get():
        work.found.append((faces, pixels))


def decoded(pixels: int) -> None:
    """Note that so many were decoded."""
    if work := current.get():
        work.decoded.append(pixels)


def refused(reason: str) -> None:
    """Note why. The reason is one of a fixed set, and nothing that a client wrote."""
    if work := current.get():
        work.reason = reason
