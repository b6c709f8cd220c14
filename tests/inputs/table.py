"""What a row of the table of bad inputs is, and short ways to write one."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# The fields of each endpoint that carry a picture or a feature.
JSON_FIELDS = {
    "/v1/detect": ("image",),
    "/v1/feature": ("image",),
    "/v1/feature-only": ("image",),
    "/v1/multi-feature": ("image",),
    "/v1/embeddings": ("image",),
    "/v1/embeddings-only": ("image",),
    "/v1/multi-embeddings": ("image",),
    "/v1/score": ("image1", "image2"),
    "/v1/feature-score": ("feature1", "feature2"),
}
FORM_FIELDS = {
    "/v1/file/detect": ("image",),
    "/v1/file/feature": ("image",),
    "/v1/file/feature-only": ("image",),
    "/v1/file/embeddings": ("image",),
    "/v1/file/embeddings-only": ("image",),
    "/v1/file/score": ("image1", "image2"),
}
FIELDS = JSON_FIELDS | FORM_FIELDS
IMAGE_FIELDS = {path: fields for path, fields in FIELDS.items() if path != "/v1/feature-score"}

MARK = "do-not-echo-me"  # in what is sent, and never in an answer or in the log
JSON = {"content-type": "application/json"}
FORM = {"content-type": "multipart/form-data; boundary=xyz"}


@dataclass(frozen=True)
class Given:
    """What requests are made of."""

    key: str
    photo: bytes  # a PNG with one face
    feature: str  # of that face, base64
    answered: Callable[[bytes], Any]  # a picture file -> the faces that /v1/file/detect answers


Request = dict[str, Any] | Callable[[Given], dict[str, Any]]  # httpx's arguments
Holds = Callable[[Any, Given], bool]  # whether the body of a 200 is right
SentKeys = Callable[[str], list[bytes]]  # the right key -> the headers x-api-key


def right_key(key: str) -> list[bytes]:
    return [key.encode()]


@dataclass(frozen=True)
class Row:
    """One request and what it must be answered.

    Of a 422: `place` is its loc, and `kind` its type. Of a 200: `holds` looks at the body.
    """

    area: str
    name: str
    path: str
    request: Request
    status: int = 422
    place: tuple[str | int, ...] = ("body",)
    kind: str = ""
    holds: Holds | None = None
    keys: SentKeys = right_key

    @property
    def id(self) -> str:
        return f"{self.area}: {self.name}: {self.path}"


def one_face(answer: Any, _: Given) -> bool:
    return len(answer["faces"]) == 1


def no_face(answer: Any, _: Given) -> bool:
    return bool(answer["faces"] == [])


def as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def sent(path: str, values: dict[str, bytes], **parameters: Any) -> dict[str, Any]:
    """The request that puts the files or features into their fields, as the endpoint takes them."""
    if path in FORM_FIELDS:
        return {"files": values, "data": parameters}
    return {"json": {name: as_base64(value) for name, value in values.items()} | parameters}
