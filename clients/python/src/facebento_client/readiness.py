"""Whether a service takes requests, and with which embedder."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import httpx

from facebento_client.calls import Request
from facebento_client.errors import NoAnswerInTimeError, UnexpectedAnswerError
from facebento_client.features import ScoreMapping
from facebento_client.results import ModelInfo

READY = Request("GET", "/readyz")
PAUSE_S = 0.5
ANSWER_S = 5.0  # /readyz computes nothing


def is_ready(response: httpx.Response) -> bool:
    return response.status_code == httpx.codes.OK


@dataclass(slots=True)
class Waiting:
    """For a service that is starting."""

    timeout_s: float
    clock: Callable[[], float] = field(default_factory=lambda: time.monotonic)
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.clock()

    @property
    def answer_s(self) -> float:
        """How long to wait for one answer: a service that hangs must not have the caller wait for longer than told."""
        return min(ANSWER_S, max(PAUSE_S, self.began + self.timeout_s - self.clock()))

    def pause_s(self) -> float:
        """How long until it is asked again. Raises NoAnswerInTimeError."""
        left = self.began + self.timeout_s - self.clock()
        if left <= 0:
            raise NoAnswerInTimeError(
                f"The service was not ready within {self.timeout_s:g} s. Is the address right? Its log says more."
            )
        return min(PAUSE_S, left)


def embedders_mapping(models: Iterable[ModelInfo]) -> ScoreMapping:
    """Of the one embedder that a service has. Raises UnexpectedAnswerError."""
    for model in models:
        if model.score_mapping:
            return model.score_mapping
    raise UnexpectedAnswerError("The service names no embedder with a score mapping.", status=200)
