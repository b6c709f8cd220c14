"""`facebento compare`: how alike two faces are, of photos or of features.

What it needs takes a second to import, so it is imported when the command runs.
"""
# ruff: noqa: PLC0415

import asyncio
import base64
import binascii
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cli import options
from cli.failing import Failure, one_line
from cli.home import service_settings

if TYPE_CHECKING:
    from faces.detection import Face
    from pipeline import Pipeline

TROUBLE: Final = 2  # as of diff and grep, where 1 is an answer
BELOW: Final = 1
_MAGIC: Final = b"FBFT"  # of a feature
_TEXT: Final = base64.b64encode(_MAGIC)[:5]  # what every feature in base64 begins with


@dataclass(frozen=True, slots=True)
class Side:
    """A photo or a feature, in the place of a request's upload."""

    field: str  # what it is called in a message
    content: bytes
    is_feature: bool

    def read(self) -> bytes:
        return self.content


class Comparing(click.Command):
    """A command whose failures end with a status that is no answer of it."""

    def invoke(self, ctx: click.Context) -> Any:
        with one_line(TROUBLE):
            return super().invoke(ctx)


@click.command(cls=Comparing)
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="Exit code 0 where the score is at least this, and 1 where it is less, or a face is missing.",
)
@options.as_json("One JSON object, for machines.")
@click.pass_context
def compare(context: click.Context, *, first: str, second: str, threshold: float | None, as_json: bool) -> None:
    """Tell how alike the largest faces of two photos are: a score from 0 to 1, 0.5 at the operating point.

    A and B are photos, or features as `facebento embed` and the service give them (a file with one, or its text), or
    one of each; - is standard input. Features of different embedders are refused.

    Exit codes are those of diff: 0 and, with --threshold, 1 are answers; 2 means that there is none.
    """
    from cli.local import served_pipeline

    if first == second == "-":
        raise click.UsageError("only one of the two can come from standard input")
    sides = _read(first, "A"), _read(second, "B")
    pipeline = served_pipeline(service_settings())
    score, faces = asyncio.run(_compare(pipeline, sides))
    missing = [side.field for side, face in zip(sides, faces, strict=True) if face is None and not side.is_feature]
    if as_json:
        click.echo(json.dumps(_as_json(sides, score, faces, threshold, missing=bool(missing))))
    else:
        _print(score, threshold, missing)
    if threshold is not None and (missing or score < threshold):
        context.exit(BELOW)


def _read(text: str, name: str) -> Side:
    """What is meant by an argument. name: for a message, where it is a feature's text. Raises click's errors."""
    from cli.photos import PhotoError, Source, shown

    if text.encode(errors="replace").startswith(_TEXT) and not Path(text[:255]).exists():
        return Side(name, _decoded(text, name), is_feature=True)
    try:
        content = Source(text, None if text == "-" else Path(text), Path(text)).read().content
    except PhotoError as error:
        raise Failure(f"{shown(text)}: {error}", TROUBLE) from error
    if content.startswith(_TEXT):
        if b"\n" + _TEXT in content:
            raise Failure(f"{shown(text)}: it holds more than one feature: give a file with one of its lines", TROUBLE)
        content = _decoded(content.split(maxsplit=1)[0].decode("ascii", "replace"), shown(text))
    return Side(text, content, is_feature=content.startswith(_MAGIC))


def _decoded(text: str, name: str) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise Failure(f"{name}: the feature is damaged: it is not base64 to its end", TROUBLE) from None


async def _compare(pipeline: "Pipeline", sides: tuple[Side, Side]) -> "tuple[float, tuple[Face | None, Face | None]]":
    """The score, 0 where a photo shows no face, and the face of each photo."""
    from cli.photos import shown
    from faces.errors import InputError

    first, second = sides
    try:
        if not first.is_feature and not second.is_feature:
            compared = await pipeline.compare(first, second)
            return compared.score, compared.faces
        one, other = await _feature(pipeline, first), await _feature(pipeline, second)
        score = await pipeline.compare_features(one[1], other[1]) if one[1] and other[1] else 0.0
        return score, (one[0], other[0])
    except InputError as error:
        raise Failure(f"{shown(error.field or '')}: {error}", TROUBLE) from error


async def _feature(pipeline: "Pipeline", side: Side) -> "tuple[Face | None, Side | None]":
    """The largest face of a photo and its feature, or the feature that it is."""
    if side.is_feature:
        return None, side
    largest = await pipeline.embed_largest(side)
    if largest is None:
        return None, None
    face, embedding = largest
    return face, Side(side.field, pipeline.feature(embedding), is_feature=True)


def _as_json(
    sides: tuple[Side, Side],
    score: float,
    faces: "tuple[Face | None, Face | None]",
    threshold: float | None,
    *,
    missing: bool,
) -> dict[str, object]:
    """As /v1/score answers, with what was compared; of a feature there is no face to tell."""
    from api.schemas import DetectResult
    from cli.photos import text_of

    told: dict[str, object] = {
        "compared": [text_of(side.field) for side in sides],
        "score": score,
        "face_detects": [DetectResult.of(face).model_dump() for face in faces],
    }
    if threshold is not None:
        told |= {"threshold": threshold, "reached": score >= threshold and not missing}
    return told


def _print(score: float, threshold: float | None, missing: list[str]) -> None:
    from cli.photos import shown

    for name in missing:
        click.echo(f"{shown(name)}: no face")
    if missing:
        click.echo(f"score {score:.4f}: for a likeness it takes two faces")
        return
    limit, named = (0.5, "the operating point") if threshold is None else (threshold, "the threshold")
    click.echo(f"score {score:.4f}: {'at or above' if score >= limit else 'below'} {named}, {limit:g}")
