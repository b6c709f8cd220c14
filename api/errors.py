"""Every way a request can fail, and the one place that turns it into a response.

ApiError                      raised by what a client meets; the packages below have trees of their own
├── Base64Error               422 base64_invalid
├── EncodingUnsupportedError  422 content_encoding_unsupported
├── KeyMissingError           422 missing
├── KeyWrongError             401
├── KeyExpiredError           401
├── ModelNotFoundError        404
├── BodyTooLargeError         413
├── TooManyRequestsError      429
└── DeadlineExceededError     504

faces.errors.InputError       422, each with a type of its own
runners.errors.RunnerError    429, 503 and 504
MemoryError                   503
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

import stages
from faces import errors as faces
from runners import errors as runners


class ApiError(Exception):
    field: str | None = None


class Base64Error(ApiError): ...


class EncodingUnsupportedError(ApiError): ...


class KeyMissingError(ApiError): ...


class KeyWrongError(ApiError): ...


class KeyExpiredError(ApiError): ...


class ModelNotFoundError(ApiError): ...


class BodyTooLargeError(ApiError): ...


class TooManyRequestsError(ApiError): ...


class DeadlineExceededError(ApiError): ...


@dataclass(frozen=True, slots=True)
class Answer:
    """How one kind of error is answered."""

    status: int
    type: str = ""  # the stable code in the body; of a 422 only
    place: str = "body"  # where a 422's field lies
    headers: Mapping[str, str] = field(default_factory=dict)


UNFORESEEN = "The service failed in a way it does not know. Its log has more."
_SOON = {"Retry-After": "1"}
_ASK = {"WWW-Authenticate": 'ApiKey realm="facebento", header="x-api-key"'}

ANSWERS: Mapping[type[Exception], Answer] = {
    Base64Error: Answer(422, "base64_invalid"),
    EncodingUnsupportedError: Answer(422, "content_encoding_unsupported", "header"),
    KeyMissingError: Answer(422, "missing", "header"),
    KeyWrongError: Answer(401, headers=_ASK),
    KeyExpiredError: Answer(401, headers=_ASK),
    ModelNotFoundError: Answer(404),
    BodyTooLargeError: Answer(413),
    TooManyRequestsError: Answer(429, headers=_SOON),
    DeadlineExceededError: Answer(504),
    faces.ImageCorruptError: Answer(422, "image_corrupt"),
    faces.ImageUnsupportedFormatError: Answer(422, "image_unsupported_format"),
    faces.ImageTooManyPixelsError: Answer(422, "image_too_many_pixels"),
    faces.ImageSideTooLongError: Answer(422, "image_side_too_long"),
    faces.ImageTooNarrowError: Answer(422, "image_too_narrow"),
    faces.ImageTooManyScansError: Answer(422, "image_too_many_scans"),
    faces.ImageWrongSizeError: Answer(422, "image_wrong_size"),
    faces.FeatureInvalidError: Answer(422, "feature_invalid"),
    faces.FeatureModelMismatchError: Answer(422, "feature_model_mismatch"),
    runners.RunnerBusyError: Answer(429, headers={"Retry-After": "5"}),
    runners.RunnerUnavailableError: Answer(503, headers=_SOON),
    runners.RunnerTimeoutError: Answer(504),
    MemoryError: Answer(503, headers=_SOON),
}


def respond(error: Exception) -> JSONResponse:
    """The response to an error of the table."""
    kind = next(kind for kind in type(error).__mro__ if kind in ANSWERS)
    answer = ANSWERS[kind]
    stages.refused(answer.type or _name(kind))
    if answer.status == 422:
        where = [answer.place, *filter(None, [getattr(error, "field", None)])]
        return _invalid([{"loc": where, "msg": str(error), "type": answer.type}])
    # Of memory the interpreter, numpy and Pillow each tell in their own way, or not at all.
    short = "There is not enough memory for this now. Try again later, or with a smaller image."
    told = short if isinstance(error, MemoryError) else str(error)
    return JSONResponse({"detail": told}, answer.status, answer.headers)


def _name(kind: type[Exception]) -> str:
    """TooManyRequestsError: too_many_requests."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__.removesuffix("Error")).lower()


def _invalid(detail: Sequence[Mapping[str, Any]]) -> JSONResponse:
    stages.refused(detail[0]["type"])
    return JSONResponse({"detail": detail}, 422)


def detail(error: Mapping[str, Any]) -> dict[str, Any]:
    """One of pydantic's errors as the contract's `loc`, `msg`, `type`.

    pydantic's own entries also echo the input: back it could not be encoded (NaN), or should not be (an image).
    """
    place, message, kind = tuple(error["loc"]), error["msg"], error["type"]
    if kind == "json_invalid":
        message = f"The body is not JSON: {error['ctx']['error']}."
    elif place == ("body",) and kind != "missing":
        kind = "json_object_expected"  # one name for what pydantic and FastAPI call differently
        message = "The body must be a JSON object, sent with Content-Type: application/json."
    return {"loc": place, "msg": message, "type": kind}


def install(app: FastAPI) -> None:
    """Have the app answer every error as the contract says: nothing of the request comes back in it."""

    async def known(_: Request, error: Exception) -> JSONResponse:
        return respond(error)

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101  as registered below
        return _invalid([detail(each) for each in error.errors()])

    async def http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101  as registered below
        told: Any = error.detail
        if isinstance(told, list):  # api/requests.py's, of a body that is not its model
            return _invalid(told)
        stages.refused(HTTPStatus(error.status_code).name.lower())
        return JSONResponse({"detail": told}, error.status_code, error.headers)

    async def unforeseen(_: Request, __: Exception) -> JSONResponse:
        # Starlette raises it again after this answer, so that the server logs it.
        return JSONResponse({"detail": UNFORESEEN}, 500)

    for kind in ANSWERS:
        app.add_exception_handler(kind, known)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unforeseen)
