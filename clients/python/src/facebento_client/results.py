"""What the service answers, as dataclasses.

Coordinates are pixels of the picture as a person sees it (EXIF orientation applied), from its upper left corner.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeAlias, TypeVar, overload

from facebento_client.features import Feature, ScoreMapping
from facebento_client.images import ImageSource

if TYPE_CHECKING:
    from PIL import Image

Json: TypeAlias = Mapping[str, Any]
F = TypeVar("F")


class DetectSortType(IntEnum):
    """In which order faces are answered, and so which ones where there are more than were asked for."""

    CONFIDENCE = 0  # highest first
    AREA = 1  # largest first
    LEFT_TO_RIGHT = 2
    CENTRE = 3  # nearest to the picture's centre first


class Point(NamedTuple):
    x: int
    y: int


class Box(NamedTuple):
    """As Pillow's crop() takes it: right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top


class Landmarks(NamedTuple):
    """Left and right as seen in the picture, not as the person's own."""

    left_eye: Point
    right_eye: Point
    nose: Point
    left_mouth: Point
    right_mouth: Point


@dataclass(frozen=True, slots=True)
class Face:
    box: Box
    landmarks: Landmarks
    confidence: float  # the detector's, 0 to 1

    @classmethod
    def of(cls, told: Json) -> "Face | None":
        """None where `processed` is false: there is no face, or none was looked for."""
        if not told["processed"]:
            return None
        box = told["boundingBox"]
        return cls(
            Box(box["left"], box["top"], box["right"], box["bottom"]),
            Landmarks._make(Point(point["x"], point["y"]) for point in told["landmarks"]),
            float(told["confidence"]),
        )

    @classmethod
    def surely(cls, told: Json) -> "Face":
        face = cls.of(told)
        if face is None:
            raise ValueError("a list of faces names one that is none")
        return face


@dataclass(frozen=True)
class _Many(Sequence[F], Generic[F]):
    faces: tuple[F, ...]

    def __len__(self) -> int:
        return len(self.faces)

    @overload
    def __getitem__(self, index: int) -> F: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[F, ...]: ...
    def __getitem__(self, index: int | slice) -> F | tuple[F, ...]:
        return self.faces[index]


@dataclass(frozen=True)
class DetectResult(_Many[Face]):
    """All faces of an image; a sequence of them."""

    seq: int = 0  # as it was sent

    @classmethod
    def of(cls, told: Json) -> "DetectResult":
        return cls(tuple(map(Face.surely, told["faces"])), told["seq"])

    def draw(self, image: ImageSource) -> "Image.Image":
        """A new picture, upright, with boxes, landmarks and confidences. image: the one that was sent."""
        return _draw(image, self.faces)


@dataclass(frozen=True, slots=True)
class FeatureResult:
    """The largest face of an image and its feature; both None where there is no face.

    Of an aligned crop (`feature_only`) there is a feature and no face, since none was looked for.
    """

    feature: Feature | None
    face: Face | None
    version: str = ""  # of the service

    @classmethod
    def of(cls, told: Json) -> "FeatureResult":
        feature = Feature.from_base64(told["feature"]) if told["feature"] else None
        return cls(feature, Face.of(told["face_detect"]), told["version"])

    def draw(self, image: ImageSource) -> "Image.Image":
        """A new picture, upright, with the face's box, landmarks and confidence, if there is one."""
        return _draw(image, [self.face] if self.face else [])


@dataclass(frozen=True, slots=True)
class EmbeddingsResult:
    """The largest face of an image and its embedding: `[]` of the service is None here.

    Of an aligned crop (`embeddings_only`) there is an embedding and no face, since none was looked for.
    """

    embedding: tuple[float, ...] | None = field(repr=False)  # L2-normalised
    face: Face | None
    version: str = ""  # of the service

    @classmethod
    def of(cls, told: Json) -> "EmbeddingsResult":
        return cls(tuple(told["embeddings"]) or None, Face.of(told["face_detect"]), told["version"])

    def draw(self, image: ImageSource) -> "Image.Image":
        """A new picture, upright, with the face's box, landmarks and confidence, if there is one."""
        return _draw(image, [self.face] if self.face else [])


@dataclass(frozen=True, slots=True)
class FaceFeature:
    face: Face
    feature: Feature


@dataclass(frozen=True, slots=True)
class FaceEmbedding:
    face: Face
    embedding: tuple[float, ...] = field(repr=False)  # L2-normalised


@dataclass(frozen=True)
class MultiFeatureResult(_Many[FaceFeature]):
    """All faces of an image, each with its feature; a sequence of them."""

    version: str = ""  # of the service

    @classmethod
    def of(cls, told: Json) -> "MultiFeatureResult":
        found = (
            FaceFeature(Face.surely(each["face_detect"]), Feature.from_base64(each["feature"]))
            for each in told["feature_info_list"]
        )
        return cls(tuple(found), told["version"])

    def draw(self, image: ImageSource) -> "Image.Image":
        """A new picture, upright, with boxes, landmarks and confidences."""
        return _draw(image, [each.face for each in self.faces])


@dataclass(frozen=True)
class MultiEmbeddingsResult(_Many[FaceEmbedding]):
    """All faces of an image, each with its embedding; a sequence of them."""

    version: str = ""  # of the service

    @classmethod
    def of(cls, told: Json) -> "MultiEmbeddingsResult":
        found = (
            FaceEmbedding(Face.surely(each["face_detect"]), tuple(each["embeddings"]))
            for each in told["embeddings_info_list"]
        )
        return cls(tuple(found), told["version"])

    def draw(self, image: ImageSource) -> "Image.Image":
        """A new picture, upright, with boxes, landmarks and confidences."""
        return _draw(image, [each.face for each in self.faces])


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """How alike the largest faces of two images are."""

    score: float  # 0 to 1, 0.5 at the embedder's operating point; 0 where a face is missing
    faces: tuple[Face | None, Face | None]  # None: this image shows no face

    @classmethod
    def of(cls, told: Json) -> "ScoreResult":
        first, second = map(Face.of, told["face_detects"])
        return cls(float(told["score"]), (first, second))

    def draw(self, image1: ImageSource, image2: ImageSource) -> "Image.Image":
        """A new picture: both of them side by side, with the faces that were compared and the score."""
        from facebento_client import drawing  # noqa: PLC0415  here only, since it needs Pillow

        return drawing.draw_pair((image1, image2), self.faces, self.score)


@dataclass(frozen=True, slots=True)
class Health:
    status: str
    ready: bool  # whether it takes requests

    @classmethod
    def of(cls, told: Json) -> "Health":
        return cls(told["status"], told["ready"])


@dataclass(frozen=True, slots=True)
class ServerInfo:
    name: str
    version: str
    device: str
    execution_provider: str
    raw: Json = field(repr=False)  # all that was answered

    @classmethod
    def of(cls, told: Json) -> "ServerInfo":
        return cls(told["name"], told["version"], told["device"], told["execution_provider"], told)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    name: str
    role: str  # "detector" or "embedder"
    licence: str
    sha256: str
    input_size: int  # pixels
    dimensions: int | None  # of an embedder, as the two below
    fingerprint: str | None  # 32 hexadecimal digits; features with different ones can't be compared
    score_mapping: ScoreMapping | None
    raw: Json = field(repr=False)  # all that was answered: source, thresholds, operating points, ...

    @classmethod
    def of(cls, told: Json) -> "ModelInfo":
        mapping = told.get("score_mapping")
        return cls(
            name=told["name"],
            role=told["role"],
            licence=told["licence"],
            sha256=told["sha256"],
            input_size=told["input_size"],
            dimensions=told.get("dimensions"),
            fingerprint=told.get("fingerprint"),
            score_mapping=ScoreMapping(told["fingerprint"], mapping["cosine"], mapping["steepness"])
            if mapping
            else None,
            raw=told,
        )


def _draw(image: ImageSource, faces: Sequence[Face]) -> "Image.Image":
    from facebento_client import drawing  # noqa: PLC0415  here only, since it needs Pillow

    return drawing.draw(image, faces)
