"""`facebento embed`: the features or embeddings of the faces of photos.

What it needs takes a second to import, so it is imported when the command runs.
"""
# ruff: noqa: PLC0415

import base64
import json
from typing import TYPE_CHECKING, Final

import click

from cli import options
from cli.home import service_settings
from cli.options import MOST_FACES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.asking import Answered
    from cli.photos import Source
    from evaluation.run import Photo
    from faces.detection import Face
    from faces.feature import Embedding
    from pipeline import Pipeline

    Found = Sequence[tuple[Face | None, Embedding]]

USUAL_FACES: Final = 128  # of --all: as of the service


@click.command()
@options.photos(required=True)
@click.option("--all", "every", is_flag=True, help="All faces of a photo, by confidence. Default: the largest one.")
@click.option(
    "--max-results",
    type=click.IntRange(1, MOST_FACES),
    help=f"With --all: the most faces of a photo.  [default: {USUAL_FACES}]",
)
@click.option("--aligned", is_flag=True, help="Photos are aligned faces of 112 x 112 pixels: nothing is detected.")
@click.option(
    "--feature", "form", flag_value="feature", default="feature", help="As a feature, in base64: the default."
)
@click.option("--embedding", "form", flag_value="embedding", help="As an embedding: numbers, of unit length.")
@options.as_json(options.LINES)
@click.pass_context
def embed(
    context: click.Context,
    *,
    photos: tuple[str, ...],
    every: bool,
    max_results: int | None,
    aligned: bool,
    form: str,
    as_json: bool,
) -> None:
    """Turn the faces of photos into features, which `facebento compare` and the service compare.

    A line for each face: the feature, or the numbers with commas between them, two spaces, and the file. They are
    biometric data: mind where they are kept. A photo without a face has no line, and is named on standard error.

    PHOTO is a file, a folder, whose pictures are all taken, or - for standard input. Exit code 1 if a photo could not
    be read; the others are answered all the same.
    """
    if every and aligned:
        raise click.UsageError("an aligned face is one face: give either --all or --aligned")
    if max_results is not None and not every:
        raise click.UsageError("--max-results is for --all: without it the largest face is taken")
    from cli.asking import ask_all, photos_at_once
    from cli.local import served_pipeline
    from cli.photos import find, shown, tell_failed

    sources = find(photos)
    configured = service_settings()
    pipeline = served_pipeline(configured)

    async def ask(photo: "Photo", _: "Source") -> "Found":
        return await _ask(pipeline, photo, aligned=aligned, most=(max_results or USUAL_FACES) if every else None)

    def tell(answered: "Answered[Found]") -> None:
        name = answered.source.name
        if answered.failed:
            tell_failed(name, answered.failed)
        if as_json:
            click.echo(json.dumps(_as_json(answered, pipeline, form, configured.embedder)))
            return
        for _, embedding in answered.answer or ():
            click.echo(f"{_text(embedding, pipeline, form)}  {shown(name)}")
        if answered.answer is not None and not answered.answer:
            click.echo(f"{shown(name)}: no face", err=True)

    if ask_all(sources, ask, tell, at_once=photos_at_once(configured)):
        context.exit(1)


async def _ask(pipeline: "Pipeline", photo: "Photo", *, aligned: bool, most: int | None) -> "Found":
    """most: of all faces; None: the largest one alone."""
    if aligned:
        return [(None, await _embed_aligned(pipeline, photo))]
    if most is not None:
        return await pipeline.embed_all(photo, most)
    largest = await pipeline.embed_largest(photo)
    return [] if largest is None else [largest]


async def _embed_aligned(pipeline: "Pipeline", photo: "Photo") -> "Embedding":
    """Raises ImageWrongSizeError that says what to do here: the words of the pipeline are for clients of the API."""
    from faces.errors import ImageWrongSizeError
    from faces.templates import ARCFACE_SIZE

    try:
        return await pipeline.embed_aligned(photo)
    except ImageWrongSizeError as error:
        size = f"{ARCFACE_SIZE} x {ARCFACE_SIZE}"
        raise ImageWrongSizeError(
            f"it is no aligned face, which has {size} pixels. Leave out --aligned, and the face is found and aligned"
        ) from error


def _text(embedding: "Embedding", pipeline: "Pipeline", form: str) -> str:
    if form == "embedding":
        return ",".join(map(repr, embedding.tolist()))
    return base64.b64encode(pipeline.feature(embedding)).decode()


def _as_json(answered: "Answered[Found]", pipeline: "Pipeline", form: str, embedder: str) -> dict[str, object]:
    """For each face what the service answers: `feature` or `embeddings`, and `face_detect`."""
    from api.schemas import DetectResult
    from cli.photos import text_of

    told: dict[str, object] = {"file": text_of(answered.source.name)}
    if answered.answer is None:
        return told | {"error": answered.failed}
    faces = [
        ({"embeddings": embedding.tolist()} if form == "embedding" else {"feature": _text(embedding, pipeline, form)})
        | {"face_detect": DetectResult.of(face).model_dump()}
        for face, embedding in answered.answer
    ]
    return told | {"embedder": embedder, "faces": faces}
