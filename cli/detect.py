"""`facebento detect`: the faces of photos, told and drawn.

What it needs takes a second to import, so it is imported when the command runs.
"""
# ruff: noqa: PLC0415

import json
from pathlib import Path
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

ORDERS: Final = ("confidence", "area", "left-to-right", "centre")  # by the contract's number
POINTS: Final = ("LEFT EYE", "RIGHT EYE", "NOSE", "LEFT MOUTH", "RIGHT MOUTH")


@click.command()
@options.photos(required=True)
@click.option(
    "--max-results",
    type=click.IntRange(1, MOST_FACES),
    default=MOST_FACES,
    show_default=True,
    help="The most faces of a photo: the first ones by --sort.",
)
@click.option("--sort", type=click.Choice(ORDERS), default="confidence", show_default=True, help="How faces come.")
@click.option(
    "--draw",
    metavar="OUT",
    help="Draw the faces into a copy of the photo: the file OUT for one photo, the folder OUT for many.",
)
@options.as_json(options.LINES)
@click.pass_context
def detect(
    context: click.Context,
    *,
    photos: tuple[str, ...],
    max_results: int,
    sort: str,
    draw: str | None,
    as_json: bool,
) -> None:
    """Find the faces of photos: boxes, landmarks, confidences.

    PHOTO is a file, a folder, whose pictures are all taken, or - for standard input. Exit code 1 if a photo could not
    be read; the others are answered all the same. A photo without a face is answered, too.
    """
    import asyncio

    from cli.asking import ask_all, photos_at_once
    from cli.drawing import Drawings
    from cli.local import served_pipeline
    from cli.photos import find, tell_failed
    from faces.detection import Order

    sources = find(photos)
    drawings = None if draw is None else Drawings(draw, photos, sources)
    targets = {} if drawings is None else {id(source): drawings.target(source) for source in sources}
    configured = service_settings()
    pipeline = served_pipeline(configured, embeds=False)
    order = Order(ORDERS.index(sort))
    one_draws = asyncio.Lock()  # a photo in all its pixels takes much memory

    async def ask(photo: "Photo", source: "Source") -> "Sequence[Face]":
        faces = await pipeline.detect(photo, order, max_results)
        if drawings is not None:
            async with one_draws:
                target = targets[id(source)]
                await asyncio.to_thread(drawings.write, photo.content, faces, target, max_pixels=configured.max_pixels)
        return faces

    def tell(answered: "Answered[Sequence[Face]]") -> None:
        if answered.failed:
            tell_failed(answered.source.name, answered.failed)
        if as_json:
            click.echo(json.dumps(_as_json(answered)))
        elif answered.answer is not None:
            _print(answered.source.name, answered.answer, targets.get(id(answered.source)))

    if ask_all(sources, ask, tell, at_once=photos_at_once(configured)):
        context.exit(1)


def _as_json(answered: "Answered[Sequence[Face]]") -> dict[str, object]:
    """As /v1/detect answers, with the file's name."""
    from api.schemas import DetectResult
    from cli.photos import text_of

    told: dict[str, object] = {"file": text_of(answered.source.name)}
    if answered.answer is None:
        return told | {"error": answered.failed}
    return told | {"faces": [DetectResult.of(face).model_dump() for face in answered.answer]}


def _print(name: str, faces: "Sequence[Face]", target: Path | None) -> None:
    from cli.photos import shown
    from cli.table import print_table

    count = f"{len(faces)} face{'' if len(faces) == 1 else 's'}" if faces else "no face"
    click.echo(f"{shown(name)}: {count}" + (f", drawn in {shown(str(target))}" if target else ""))
    if faces:
        rows: list[tuple[str, ...]] = [("", "CONFIDENCE", "LEFT", "TOP", "RIGHT", "BOTTOM", *POINTS)]
        rows += [(str(number), *told(face)) for number, face in enumerate(faces, 1)]
        print_table(rows, indent=2)


def told(face: "Face") -> tuple[str, ...]:
    """In the pixels that the service answers."""
    from api.schemas import DetectResult

    answer = DetectResult.of(face)
    box = answer.boundingBox
    sides = (str(side) for side in (box.left, box.top, box.right, box.bottom))
    return f"{face.confidence:.3f}", *sides, *(f"{point.x},{point.y}" for point in answer.landmarks)
