"""Request and response bodies. Names, types and defaults are the contract's: clients in the field rely on them."""

import math
import re
from typing import Annotated, Any

import numpy as np
from fastapi import UploadFile
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt
from pydantic_core import PydanticCustomError

from api.payload import Payload
from faces.detection import Face

_RESULTS = Field(ge=1, le=750, description="The most faces to answer: the best ones by the order asked for.")
_SORT_TYPE = Field(
    ge=0,
    le=3,
    description="0: confidence, highest first. 1: area, largest first. 2: left to right. 3: nearest to the image's "
    "centre first. Ties: confidence, then left to right.",
)
_SEQ = Field(description="reserved: echoed in the response")
_IMAGE = Field(
    description="base64 encoded data: a JPEG, PNG, WebP or BMP file. A `data:image/...;base64,` prefix and line breaks "
    "are accepted."
)
_IMAGE_FILE = Field(
    description="A JPEG, PNG, WebP or BMP file; its declared name and type are ignored.",
    json_schema_extra={"format": "binary"},
)
_VERSION = Field(description="the release of this service")
_FEATURE = Field(description="base64 encoded data: a feature that this service answered")


class _JsonBody(BaseModel):
    async def payload(self, field: str) -> Payload:
        """What the named field holds, not decoded yet."""
        return Payload(field, getattr(self, field))


def _whole_float(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# In JSON a number is a number: "7" and 1.5 are refused. 7.0 is the integer 7, for JSON Schema and for clients whose
# language has one kind of numbers. In a form a number is text.
_INTEGER = BeforeValidator(_whole_float)


class DetectReqBody(_JsonBody):
    seq: Annotated[StrictInt, _SEQ, _INTEGER] = 0
    maxResults: Annotated[StrictInt, _RESULTS, _INTEGER] = 750  # noqa: N815
    detectSortType: Annotated[StrictInt, _SORT_TYPE, _INTEGER] = 0  # noqa: N815
    image: Annotated[str, _IMAGE]


class FeatureReqBody(_JsonBody):
    image: Annotated[str, _IMAGE]


class MultiFeatureReqBody(_JsonBody):
    image: Annotated[str, _IMAGE]
    maxResults: Annotated[StrictInt, _RESULTS, _INTEGER] = 128  # noqa: N815


class EmbeddingsReqBody(_JsonBody):
    image: Annotated[str, _IMAGE]


class MultiEmbeddingsReqBody(_JsonBody):
    image: Annotated[str, _IMAGE]
    maxResults: Annotated[StrictInt, _RESULTS, _INTEGER] = 128  # noqa: N815


class ScoreReqBody(_JsonBody):
    image1: Annotated[str, _IMAGE]
    image2: Annotated[str, _IMAGE]


class FeatureScoreReqBody(_JsonBody):
    feature1: Annotated[str, _FEATURE]
    feature2: Annotated[str, _FEATURE]


def _is_file(value: object) -> object:
    if isinstance(value, str):
        raise PydanticCustomError("file_expected", "A file is expected here, with a filename in its part of the form.")
    return value


_File = Annotated[UploadFile, BeforeValidator(_is_file), _IMAGE_FILE]


class _FormBody(BaseModel):
    async def payload(self, field: str) -> Payload:
        """What the file in the named field holds."""
        file: UploadFile = getattr(self, field)
        return Payload(field, await file.read())


def _is_whole(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"\s*[+-]?\d+\s*", value, re.ASCII):
        raise PydanticCustomError("int_parsing", "Input should be a whole number, such as 7")
    return value


# Without the check pydantic takes 1_000 and 7.0 for whole numbers too. It comes last: bounds behind it would be checked
# and not described.
_WHOLE = BeforeValidator(_is_whole)


class DetectForm(_FormBody):
    seq: Annotated[int, _SEQ, _WHOLE] = 0
    maxResults: Annotated[int, _RESULTS, _WHOLE] = 750  # noqa: N815
    detectSortType: Annotated[int, _SORT_TYPE, _WHOLE] = 0  # noqa: N815
    image: _File


class ImageForm(_FormBody):
    image: _File


class ScoreForm(_FormBody):
    image1: _File
    image2: _File


def _none_required(schema: dict[str, Any]) -> None:
    # Every field is always answered; the contract has no list of required ones for answers.
    schema.pop("required", None)


class _Answer(BaseModel):
    model_config = ConfigDict(json_schema_extra=_none_required)


class Landmark(_Answer):
    x: int = Field(description="pixels from the left")
    y: int = Field(description="pixels from the top")


class BoundingBox(_Answer):
    """Pixels of the upright image; `right` and `bottom` exclusive."""

    left: int = Field(description="the first column of pixels")
    top: int = Field(description="the first row")
    right: int = Field(description="the column behind the last one")
    bottom: int = Field(description="the row below the last one")


class DetectResult(_Answer):
    """One face; or, with `processed` false, that there is none or none was looked for."""

    processed: bool = Field(description="whether a face was found; if not, all else is 0")
    confidence: float = Field(description="the detector's, 0 to 1")
    boundingBox: BoundingBox  # noqa: N815
    landmarks: Annotated[
        list[Landmark],
        Field(
            description="left eye, right eye, nose tip, left mouth corner, right mouth corner, as seen in the picture"
        ),
    ]

    @classmethod
    def of(cls, face: Face | None) -> "DetectResult":
        """The face in whole pixels: the smallest box of them that holds it, and the pixels its points lie in."""
        if face is None:
            return cls.model_construct(
                processed=False,
                confidence=0.0,
                boundingBox=BoundingBox.model_construct(left=0, top=0, right=0, bottom=0),
                landmarks=[Landmark.model_construct(x=0, y=0)] * 5,
            )
        return cls.model_construct(
            processed=True,
            confidence=face.confidence,
            boundingBox=BoundingBox.model_construct(
                left=math.floor(face.left),
                top=math.floor(face.top),
                right=math.ceil(face.right),
                bottom=math.ceil(face.bottom),
            ),
            landmarks=[Landmark.model_construct(x=x, y=y) for x, y in np.floor(face.landmarks).astype(int).tolist()],
        )


class DetectResponse(_Answer):
    seq: int = Field(description="that of the request")
    faces: list[DetectResult] = Field(description="in the order asked for; [] where there is none")


class FeatureResponse(_Answer):
    version: Annotated[str, _VERSION]
    feature: str = Field(description='base64 encoded data; "" where there is no face')
    face_detect: DetectResult


class FeatureInfoResult(_Answer):
    feature: str = Field(description="base64 encoded data")
    face_detect: DetectResult


class MultiFeatureResponse(_Answer):
    version: Annotated[str, _VERSION]
    feature_info_list: list[FeatureInfoResult] = Field(description="a face each, the surest first")


class EmbeddingsResponse(_Answer):
    version: Annotated[str, _VERSION]
    embeddings: list[float] = Field(description="L2-normalised; [] where there is no face")
    face_detect: DetectResult


class EmbeddingsInfoResult(_Answer):
    embeddings: list[float] = Field(description="L2-normalised")
    face_detect: DetectResult


class MultiEmbeddingsResponse(_Answer):
    version: Annotated[str, _VERSION]
    embeddings_info_list: list[EmbeddingsInfoResult] = Field(description="a face each, the surest first")


class ScoreResponse(_Answer):
    score: float = Field(description="0 to 1, 0.5 at the embedder's operating point; 0 where a face is missing")
    face_detects: list[DetectResult] = Field(description="two, in the order of the images")


class FeatureScoreResponse(_Answer):
    score: float = Field(description="0 to 1, 0.5 at the embedder's operating point")


class ValidationError(BaseModel):
    loc: list[str | int]
    msg: str
    type: str


class HTTPValidationError(_Answer):
    detail: list[ValidationError]


class ErrorResponse(BaseModel):
    detail: str


class Health(BaseModel):
    status: str = Field(description="ok, while the process lives")
    ready: bool = Field(description="whether both models can be used now")
