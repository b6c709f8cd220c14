import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI

from api import errors
from api.app import create_app
from faces.errors import FeatureError, ImageError, InputError, blamed_on
from runners.errors import RunnerError

Ask = Callable[..., httpx.Response]

# The contract's table: status, and of a 422 the type and where its field lies.
CONTRACT: dict[str, tuple[int, str | None, str | None]] = {
    "Base64Error": (422, "base64_invalid", "body"),
    "EncodingUnsupportedError": (422, "content_encoding_unsupported", "header"),
    "KeyMissingError": (422, "missing", "header"),
    "KeyWrongError": (401, None, None),
    "KeyExpiredError": (401, None, None),
    "ModelNotFoundError": (404, None, None),
    "BodyTooLargeError": (413, None, None),
    "TooManyRequestsError": (429, None, None),
    "DeadlineExceededError": (504, None, None),
    "ImageCorruptError": (422, "image_corrupt", "body"),
    "ImageUnsupportedFormatError": (422, "image_unsupported_format", "body"),
    "ImageTooManyPixelsError": (422, "image_too_many_pixels", "body"),
    "ImageSideTooLongError": (422, "image_side_too_long", "body"),
    "ImageTooNarrowError": (422, "image_too_narrow", "body"),
    "ImageTooManyScansError": (422, "image_too_many_scans", "body"),
    "ImageWrongSizeError": (422, "image_wrong_size", "body"),
    "FeatureInvalidError": (422, "feature_invalid", "body"),
    "FeatureModelMismatchError": (422, "feature_model_mismatch", "body"),
    "RunnerBusyError": (429, None, None),
    "RunnerUnavailableError": (503, None, None),
    "RunnerTimeoutError": (504, None, None),
}


def raised_by_name(name: str) -> Exception:
    return next(kind for kind in errors.ANSWERS if kind.__name__ == name)("what to do")


def failing(error: Exception) -> FastAPI:
    router = APIRouter()

    @router.get("/fail")
    async def fail() -> None:
        raise error

    return create_app(router)


def test_every_kind_of_error_has_an_answer() -> None:
    kinds: set[type[Exception]] = set()
    for tree in (errors.ApiError, ImageError, FeatureError, RunnerError):
        kinds |= set(tree.__subclasses__())
    # Besides those of commands, which no request meets.
    inputs = {each for each in InputError.__subclasses__() if not each.__module__.startswith("cli.")}
    assert inputs == {ImageError, FeatureError}
    # The one that stops the start and meets no client.
    assert {kind.__name__ for kind in kinds} - {"DeviceUnavailableError"} == CONTRACT.keys()
    assert {kind.__name__ for kind in errors.ANSWERS} - {"MemoryError"} == CONTRACT.keys()


class OwnMemoryError(MemoryError):
    """As numpy's, which has a type of its own, and tells of arrays."""


@pytest.mark.parametrize("error", [MemoryError(), OwnMemoryError("Unable to allocate 1.00 PiB for an array")])
def test_too_little_memory_is_answered_with_words_of_our_own(error: MemoryError) -> None:
    response = errors.respond(error)
    assert response.status_code == 503
    assert response.headers["retry-after"]
    assert b"memory" in response.body
    assert b"array" not in response.body


@pytest.mark.parametrize("name", CONTRACT)
def test_every_error_is_answered_as_the_contract_says(name: str, ask: Ask) -> None:
    status, kind, place = CONTRACT[name]
    error = raised_by_name(name)
    error.field = "image2"  # type: ignore[attr-defined]
    answer = ask(failing(error), "GET", "/fail")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    if status == 422:
        assert answer.json() == {"detail": [{"loc": [place, "image2"], "msg": "what to do", "type": kind}]}
    else:
        assert answer.json() == {"detail": "what to do"}
    assert ("retry-after" in answer.headers) is (status in {429, 503})
    assert ("www-authenticate" in answer.headers) is (status == 401)
    assert bytes(errors.respond(error).body) == answer.content


@pytest.mark.parametrize("name", [name for name, (status, _, _) in CONTRACT.items() if status == 422])
def test_an_error_that_blames_no_field_names_its_place(name: str) -> None:
    detail = json.loads(bytes(errors.respond(raised_by_name(name)).body))["detail"]
    assert detail[0]["loc"] == [CONTRACT[name][2]]


def test_the_blame_reaches_the_answer(ask: Ask) -> None:
    error: Any = raised_by_name("ImageCorruptError")
    with pytest.raises(InputError), blamed_on("image1"):
        raise error
    assert ask(failing(error), "GET", "/fail").json()["detail"][0]["loc"] == ["body", "image1"]


def test_paths_and_methods_that_are_not_there(ask: Ask) -> None:
    app = failing(ValueError())
    missing, wrong = ask(app, "GET", "/v1/none"), ask(app, "POST", "/fail")
    assert (missing.status_code, missing.json()) == (404, {"detail": "Not Found"})
    assert (wrong.status_code, wrong.json()) == (405, {"detail": "Method Not Allowed"})
    assert wrong.headers["allow"] == "GET"
    assert ask(app, "GET", "/fail/").status_code == 404


def test_an_unforeseen_error_tells_nothing_of_itself(ask: Ask) -> None:
    answer = ask(failing(ValueError("/secret/path")), "GET", "/fail")
    assert answer.status_code == 500
    assert list(answer.json()) == ["detail"]
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


def test_an_unforeseen_error_reaches_the_log(ask: Ask) -> None:
    with pytest.raises(ValueError, match="lost"):
        ask(failing(ValueError("lost")), "GET", "/fail", raising=True)
