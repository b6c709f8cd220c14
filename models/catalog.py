"""Which models there are, and all that is known of each: read from catalog.toml, checked, frozen."""

import functools
import hashlib
import json
import operator
import tomllib
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    StringConstraints,
    Tag,
    ValidationError,
    model_validator,
)

from faces.feature import ScoreMapping
from faces.templates import ARCFACE_SIZE, ARCFACE_TEMPLATE
from models.calibration import Calibration
from models.errors import DescriptionError, UnknownModelError

# Raise it with every change in this package that changes a prepared graph: the stored versions depend on it, so that a
# graph prepared by older code is never picked up.
PREPARATION = 3

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
# What BentoML accepts as the name of a model, less dots and underscores.
ModelId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63)]
TermsUrl = Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$")]
# With a file at its end, and nothing that would be sent along: no user, no password.
HttpsUrl = Annotated[str, StringConstraints(pattern=r"^https://[A-Za-z0-9.-]+(:[0-9]+)?/[^\s?#]*[^\s?#/]$")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Cosine = Annotated[float, Field(gt=-1, lt=1)]
Point = tuple[float, float]
Triple = tuple[float, float, float]
# "arcface" for the template of ArcFace and all that is trained on its alignment, so that nobody copies its numbers.
Landmarks = Annotated[
    tuple[Point, Point, Point, Point, Point],
    BeforeValidator(lambda given: ARCFACE_TEMPLATE if given == "arcface" else given),
]


class Frozen(BaseModel):
    # allow_inf_nan: neither has a place in JSON, and the fingerprint is a hash of JSON.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PackageSource(Frozen):
    """A file inside a release on the package index. `archive` is the SHA-256 of the wheel or source archive."""

    package: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.!+_-]*$")
    archive: Sha256
    member: str


class AddressSource(Frozen):
    """A file at a public address or, with `archive` and `member`, a file inside the zip archive there.

    `archive` is the SHA-256 of the zip. An address that redirects may do so to HTTPS only.
    """

    url: HttpsUrl
    archive: Sha256 | None = None
    member: str | None = None

    @model_validator(mode="after")
    def _names_an_archive_and_its_member(self) -> Self:
        if (self.archive is None) != (self.member is None):
            raise ValueError("archive and member are for a file inside a zip: give both or neither")
        return self

    @property
    def file_name(self) -> str:
        """What is published there is called so: the last part of the address."""
        return PurePosixPath(unquote(urlsplit(self.url).path)).name


def _kind_of_source(fields: object) -> str:
    by_address = isinstance(fields, AddressSource) or (isinstance(fields, dict) and "url" in fields)
    return "address" if by_address else "package"


# Told apart by hand, so that a mistake in one kind is not told as a mistake in both.
Source = Annotated[
    Annotated[PackageSource, Tag("package")] | Annotated[AddressSource, Tag("address")],
    Discriminator(_kind_of_source),
]


class InputSpec(Frozen):
    """What the network takes: a square of `size` pixels a side, each value (x - mean) * scale.

    x is 0 to 255; mean and scale follow the channel order of `color`.
    """

    size: int = Field(gt=0, le=4096)
    color: Literal["RGB", "BGR"]
    mean: Triple
    scale: float | Triple

    @property
    def scales(self) -> Triple:
        return self.scale if isinstance(self.scale, tuple) else (self.scale, self.scale, self.scale)


class DetectorSpec(Frozen):
    """How a detector's outputs become candidates, and which of these count as faces.

    `outputs` names the graph's outputs in the order that the decoding wants them in. `candidates` is how many rows
    the prepared graph answers for an image; the two thresholds are for whoever reads them. `smallest_face` is the
    longer side, in pixels of the canvas, of the smallest face that is found as a rule.
    """

    decoding: Literal["centerface", "retinaface", "scrfd", "yunet"]
    outputs: tuple[str, ...]
    candidates: int = Field(gt=0)
    smallest_face: int = Field(28, gt=0)
    score_threshold: Fraction
    iou_threshold: Fraction


class OperatingPoint(Frozen):
    """A threshold on the cosine similarity, and the share of pairs judged rightly at it, where that is published."""

    cosine: Cosine
    accuracy: Fraction | None = None
    data: str
    source: str


class EmbedderSpec(Frozen):
    """What an embedder answers, and the crop that it wants.

    `template` is where the landmarks lie in the crop, in pixels of its size x size square, x then y: left eye, right
    eye, nose tip, left and right mouth corner, as seen in the picture; or "arcface", for crops of 112 x 112 pixels.
    """

    dimensions: int = Field(gt=0)
    template: Landmarks
    score: ScoreMapping
    operating_points: tuple[OperatingPoint, ...] = ()
    # Private: no part of what is described, dumped, or hashed into a version.
    _calibration: Calibration | None = PrivateAttr(None)

    @property
    def calibration(self) -> Calibration | None:
        """What was measured by whoever runs the service, where they did."""
        return self._calibration

    @property
    def mapping(self) -> ScoreMapping:
        """Cosine -> score, as it is served: as calibrated, or else as described."""
        return self.score if self._calibration is None else self._calibration.score

    def calibrated(self, calibration: Calibration | None) -> Self:
        """The same with that calibration."""
        spec = self.model_copy()
        spec._calibration = calibration  # noqa: SLF001  its own
        return spec


class ModelDescription(Frozen):
    """One model. `sha256` is of the source file (.onnx or .dat) as published, before preparation.

    `licence` is an SPDX identifier, or a sentence where there is none; `terms` is where its text stands. With
    `acceptance`, the licence restricts what the model may be used for: nobody gets it without saying that they accept.
    """

    id: ModelId
    role: Literal["detector", "embedder"]
    summary: str
    licence: str
    # Where these say nothing they are left out of what is dumped: models stored before they came keep their version.
    terms: TermsUrl | None = Field(None, exclude_if=operator.not_)
    acceptance: bool = Field(default=False, exclude_if=operator.not_)
    sha256: Sha256
    format: Literal["onnx", "dlib"]
    starter: bool = False
    source: Source | None = None
    input: InputSpec
    detector: DetectorSpec | None = None
    embedder: EmbedderSpec | None = None

    @model_validator(mode="after")
    def _has_what_its_role_needs(self) -> Self:
        sections = {"detector": self.detector, "embedder": self.embedder}
        given = [name for name, section in sections.items() if section is not None]
        if given != [self.role]:
            found = " and ".join(given) or "neither detector nor embedder"
            raise ValueError(f"a model of role {self.role} has the section {self.role} and no other, found {found}")
        if self.embedder is not None and len(set(self.embedder.template)) == 1:
            raise ValueError("the five points of the template are one: nothing can be aligned to them")
        if self.embedder is not None and self.embedder.template == ARCFACE_TEMPLATE and self.input.size != ARCFACE_SIZE:
            raise ValueError(f"the template arcface is for crops of {ARCFACE_SIZE} pixels, not of {self.input.size}")
        if self.format == "dlib" and self.role != "embedder":
            raise ValueError("the only dlib network that can be read is its face recognition ResNet, an embedder")
        return self

    @property
    def fingerprint(self) -> str:
        """The embedding space as 32 hex digits (16 bytes): features with the same one can be compared.

        Made from what changes an embedding, and from nothing else (not from texts, licence, operating points or the
        way the graph is prepared), so that stored features outlive a change of these. TypeError for a detector.
        """
        if self.embedder is None:
            raise TypeError(f"{self.id} is a detector: only embedders have a fingerprint")
        space = {
            "sha256": self.sha256,
            "format": self.format,
            "size": self.input.size,
            "color": self.input.color,
            "mean": self.input.mean,
            "scale": self.input.scales,
            "dimensions": self.embedder.dimensions,
            "template": self.embedder.template,
        }
        return _digest(space)[:32]

    def calibrated(self, calibration: Calibration | None) -> Self:
        """The same with that calibration; of the same version and fingerprint. TypeError for a detector."""
        if self.embedder is None:
            raise TypeError(f"{self.id} is a detector: only embedders have scores")
        return self.model_copy(update={"embedder": self.embedder.calibrated(calibration)})

    @property
    def version(self) -> str:
        """The version in the model store, 12 hex digits: another with every change of description or preparation."""
        return _version(self.model_dump(mode="json"), PREPARATION)

    @property
    def tag(self) -> str:
        """The BentoML tag, `id:version`."""
        return f"{self.id}:{self.version}"


def catalog() -> dict[str, ModelDescription]:
    """The models of catalog.toml by id, in its order."""
    return dict(_catalog())


def describe(model_id: str) -> ModelDescription:
    """The catalog's description of a model. UnknownModelError, with the ids there are, for any other id."""
    entries = _catalog()
    if model_id not in entries:
        raise UnknownModelError(f"no model is called {model_id!r}. Known models: {', '.join(entries)}")
    return entries[model_id]


def read_description(path: Path, sha256: str) -> ModelDescription:
    """A user's description of a file with that SHA-256: TOML with the fields of one catalog entry.

    `sha256` and `source` may be left out. DescriptionError names every field that is wrong.
    """
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DescriptionError(f"{path} can't be read as TOML: {error}") from error
    if "model" in fields:  # copied from catalog.toml
        raise DescriptionError(f"{path} describes one model: its sections are called [input], not [model.input]")
    try:
        return ModelDescription.model_validate({"sha256": sha256} | fields)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, each['loc'])) or 'the whole'}: {each['msg']}" for each in error.errors()]
        raise DescriptionError(f"{path} does not describe a model: {'; '.join(problems)}") from error


@functools.cache
def _catalog() -> dict[str, ModelDescription]:
    text = Path(__file__).with_name("catalog.toml").read_text(encoding="utf-8")
    entries = [ModelDescription.model_validate(fields) for fields in tomllib.loads(text)["model"]]
    return {entry.id: entry for entry in entries}


def versions(description: object) -> set[str]:
    """The versions that this release and older ones give to a description, as JSON."""
    return {_version(description, preparation) for preparation in range(1, PREPARATION + 1)}


def _version(description: object, preparation: int) -> str:
    return _digest({"description": description, "preparation": preparation})[:12]


def _digest(fields: dict[str, Any]) -> str:
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
