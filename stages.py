"""What becomes of one request: noted where it happens, told by the log (api/access.py)."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(slots=True)
class Work:
    """One request in work."""

    request_id: str
    began: float = field(default_factory=time.perf_counter)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # by stage, in the order they began
    stage_ended: float | None = None  # when the last one did, on the clock of `began`
    faces: int | None = None  # found in all its images; None where none were looked for
    reason: str = ""  # why it is refused: a 422's type, or the name of another error


# A request's tasks have copies of its context, with the same object in them.
current: ContextVar[Work | None] = ContextVar("work", default=None)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Count the time of this block as the stage's. Two at the same time, as for two images, count as their sum."""
    work = current.get()
    if work is None:
        yield
        return
    began = time.perf_counter()
    try:
        yield
    finally:
        work.stage_ended = time.perf_counter()
        work.seconds[name] += work.stage_ended - began


def found(faces: int) -> None:
    """Note that an image has that many faces."""
    if work := current.get():
        work.faces = (work.faces or 0) + faces


def refused(reason: str) -> None:
    """Note why. The reason is one of a fixed set, and nothing that a client wrote."""
    if work := current.get():
        work.reason = reason
