"""When a request is sent again, and after how long. Nothing here sends or sleeps.

Every endpoint only computes: to ask twice does no harm. So what may pass is tried again: no connection, a connection
that broke, 429, 502 and 503. Not what would take as long again: the client's own timeout, and the service's, 504.
"""

import datetime as dt
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

from facebento_client.errors import (
    ApiError,
    FacebentoError,
    NoAnswerError,
    NoAnswerInTimeError,
    OverloadedError,
    UnavailableError,
)

_log = logging.getLogger("facebento_client")


@dataclass(frozen=True, slots=True)
class Retry:
    """How a client tries again.

    The pauses grow: first_pause_s, twice that, four times that, ... with a random half taken off each, so that clients
    which were refused together don't come back together. Where the service says Retry-After, the pause is never
    shorter, and the random part comes on top.
    """

    times: int = 5  # after the first attempt; 0: never
    total_s: float = 60.0  # no attempt begins later than this after the first one did
    first_pause_s: float = 0.25
    longest_pause_s: float = 8.0

    def __post_init__(self) -> None:
        if self.times < 0 or min(self.total_s, self.first_pause_s, self.longest_pause_s) < 0:
            raise ValueError("a retry's numbers can't be below 0")


@dataclass(slots=True)
class Attempts:
    """Those of one request, the first of which begins now."""

    retry: Retry
    clock: Callable[[], float] = field(default_factory=lambda: time.monotonic)
    chance: Callable[[], float] = random.random
    began: float = field(init=False)
    failed: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.began = self.clock()

    def pause_s(self, error: FacebentoError) -> float | None:
        """How long to wait before the next attempt; None: there is none, and the error is the request's end."""
        if self.failed >= self.retry.times or not passes(error):
            return None
        grown = min(self.retry.first_pause_s * 2.0**self.failed, self.retry.longest_pause_s)
        asked_for = error.retry_after_s if isinstance(error, ApiError) else None
        pause = grown * (1 + self.chance()) / 2 if asked_for is None else asked_for + grown * self.chance()
        if self.clock() - self.began + pause > self.retry.total_s:
            return None
        self.failed += 1
        _log.info("%s: tried again in %.2f s", error, pause)
        return pause


def passes(error: FacebentoError) -> bool:
    """Whether the same request may well succeed in a moment."""
    may = isinstance(error, NoAnswerError | OverloadedError | UnavailableError)
    return may and not isinstance(error, NoAnswerInTimeError)


def retry_after_s(value: str | None, now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)) -> float | None:
    """A Retry-After header, seconds or a date (RFC 9110, 10.2.3), as seconds from now; None without a usable one."""
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdecimal():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=dt.UTC)
    return max(0.0, (date - now()).total_seconds())
