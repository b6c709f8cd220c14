"""Everything that can go wrong with a call.

FacebentoError
├── NoAnswerError                 nobody answered: is the address right, does the service run?
│   └── NoAnswerInTimeError       connected, and the client's own timeout passed
├── ApiError                      the service answered, and not with a result
│   ├── InvalidRequestError       400, 422: what was sent is wrong; `problems` says which field and why
│   ├── AuthenticationError       401, and 422 for a missing key
│   ├── NotFoundError             404, 405: no such model, or no facebento at this address
│   ├── TooLargeError             413
│   ├── OverloadedError           429: more requests than the service admits
│   ├── UnavailableError          502, 503: starting, stopping, or a part of it is down
│   ├── DeadlineError             504: the service gave the request up
│   └── UnexpectedAnswerError     200 with a body that is no answer of facebento
└── FeatureError                  also a ValueError
    ├── FeatureInvalidError       not a feature, or a damaged one
    └── FeatureMismatchError      features of two embedders, which no number can compare

What never leaves the caller's side raises what Python raises for it: TypeError for a thing that is no image, ValueError
for an array of the wrong shape, OSError for a file that can't be read. No message holds a key, an image or a feature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

KEY_HEADER = "x-api-key"
_LONGEST_TEXT = 200  # of what a stranger, such as a proxy, answered


class FacebentoError(Exception):
    """Base of all."""


class NoAnswerError(FacebentoError):
    """Nobody answered. The connection was refused, reset, or could not be made."""


class NoAnswerInTimeError(NoAnswerError):
    """The client's own timeout passed: it was connected, and waited."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a request."""

    loc: tuple[str | int, ...]  # where: ("body", "image")
    msg: str
    type: str  # a stable code, such as image_corrupt

    def __str__(self) -> str:
        field = ".".join(map(str, self.loc[1:])) or ".".join(map(str, self.loc))
        return f"{field}: {self.msg} ({self.type})"


class ApiError(FacebentoError):
    """The service answered, and not with a result.

    status: of HTTP. detail: what the service says of it. problems: field by field, of a 422. request_id: what the
    service's log calls the request. retry_after_s: how long the service asks to wait, where it does.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int,
        problems: Sequence[Problem] = (),
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.problems = tuple(problems)
        self.request_id = request_id
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[Any, ...]:
        # As it is told otherwise, an exception with arguments by name can't be read back: in a pool of processes, say.
        return _again, (type(self), self.detail, vars(self))

    def __str__(self) -> str:
        named = f", request {self.request_id}" if self.request_id else ""
        return f"{self.detail} [HTTP {self.status}{named}]"


def _again(kind: type[ApiError], detail: str, told: Mapping[str, Any]) -> ApiError:
    error = kind(detail, status=told["status"])
    vars(error).update(told)
    return error


class InvalidRequestError(ApiError): ...


class AuthenticationError(ApiError): ...


class NotFoundError(ApiError): ...


class TooLargeError(ApiError): ...


class OverloadedError(ApiError): ...


class UnavailableError(ApiError): ...


class DeadlineError(ApiError): ...


class UnexpectedAnswerError(ApiError): ...


class FeatureError(FacebentoError, ValueError): ...


class FeatureInvalidError(FeatureError): ...


class FeatureMismatchError(FeatureError): ...


_BY_STATUS: Mapping[int, type[ApiError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    404: NotFoundError,
    405: NotFoundError,
    413: TooLargeError,
    422: InvalidRequestError,
    429: OverloadedError,
    502: UnavailableError,
    503: UnavailableError,
    504: DeadlineError,
}


def of_response(response: httpx.Response, retry_after_s: float | None) -> ApiError:
    """The error that an answer with a status other than 200 is."""
    kind = _BY_STATUS.get(response.status_code, ApiError)
    told = _detail(response)
    problems = _problems(told)
    if problems:
        detail = "; ".join(map(str, problems))
    elif isinstance(told, str):
        detail = told
    else:
        detail = _strange(response)
    if any(problem.loc == ("header", KEY_HEADER) for problem in problems):
        kind = AuthenticationError
        detail = "The service takes requests with a key only: give api_key=..., or set FACEBENTO_API_KEY."
    return kind(
        detail,
        status=response.status_code,
        problems=problems,
        request_id=response.headers.get("x-request-id"),
        retry_after_s=retry_after_s,
    )


def unexpected(response: httpx.Response) -> UnexpectedAnswerError:
    """The error that a 200 is which can't be read."""
    return UnexpectedAnswerError(
        f"{_place(response.request)} answered with something that is no answer of facebento. Is this its address?",
        status=response.status_code,
        request_id=response.headers.get("x-request-id"),
    )


def of_transport(error: httpx.RequestError, request: httpx.Request) -> NoAnswerError:
    """The error that a request is which got no answer."""
    place = _place(request)
    reason = str(error) or type(error).__name__
    failed: NoAnswerError
    if isinstance(error, httpx.ConnectTimeout):
        failed = NoAnswerError(f"No connection to {place} was made in time. Is the address right?")
    elif isinstance(error, httpx.TimeoutException):
        failed = NoAnswerInTimeError(f"{place} did not answer in time. A longer timeout=... waits for longer.")
    elif isinstance(error, httpx.ConnectError):
        failed = NoAnswerError(f"No connection to {place}: {reason}. Is the address right, and does the service run?")
    else:
        failed = NoAnswerError(f"The connection to {place} broke before the answer had come: {reason}")
    failed.__cause__ = error
    return failed


def _detail(response: httpx.Response) -> Any:
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return None
    return body.get("detail") if isinstance(body, dict) else None


def _problems(told: Any) -> list[Problem]:
    if not isinstance(told, list):
        return []
    try:
        return [Problem(tuple(each["loc"]), str(each["msg"]), str(each["type"])) for each in told]
    except (KeyError, TypeError):
        return []


def _strange(response: httpx.Response) -> str:
    """Of an answer that is not in the service's own form."""
    place = _place(response.request)
    if response.is_redirect:
        return f"{place} redirects elsewhere, where no key is sent. Give the client the address that it leads to."
    text = " ".join(response.text.split())
    said = f": {text[:_LONGEST_TEXT]}" if text else ""
    return f"{place} answered {response.status_code} {response.reason_phrase}{said}"


def _place(request: httpx.Request) -> str:
    """Its address without what may be secret: a user, a password, a query."""
    return f"{request.url.scheme}://{request.url.netloc.decode('ascii')}{request.url.path}"
