"""`facebento models evaluate`: how right the answers are, measured on labelled pictures.

What it needs takes seconds to import, so it is imported when the command runs.
"""
# ruff: noqa: PLC0415

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

import api
from api import settings

if TYPE_CHECKING:
    from evaluation.journal import Answer
    from evaluation.run import Photo
    from models.store import StoredModel
    from pipeline import Pipeline

# Settings that change no answer, and the models, which are told by what they are. Any other setting, a new one among
# them, makes a run of its own.
WITHOUT_EFFECT: Final = frozenset(
    {
        "api_keys",
        "api_keys_file",
        "detector",
        "embedder",
        "threads",
        "decode_threads",
        "workers",
        "detector_batch_size",
        "embedder_batch_size",
        "max_in_flight",
        "max_concurrency",
        "deadline_s",
        "max_body_bytes",
        "max_body_memory_bytes",
        "max_image_memory_bytes",
    }
)
# For average precision, which asks for what was found with hardly any confidence, too.
LOWEST_CONFIDENCE: Final = 0.01
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


@dataclass(frozen=True)
class Task:
    """What to evaluate with what. context: what makes the answers besides the pictures."""

    configured: settings.Settings
    detector: "StoredModel"
    embedder: "StoredModel | None"  # none where only faces are to be found
    images: Path
    out: Path
    name: str
    keep: bool

    @property
    def context(self) -> list[str]:
        models = [self.detector.tag, self.detector.prepared_sha256]
        if self.embedder is not None:
            models += [self.embedder.description.fingerprint, self.embedder.prepared_sha256]
        return [api.__version__, *models, self.configured.model_dump_json(exclude=set(WITHOUT_EFFECT))]

    def pipeline(self, told_from: float = 1.0) -> "Pipeline":
        """told_from: as in SearchOptions."""
        from cli.local import local_pipeline

        embedder = None if self.embedder is None else (self.embedder.description, self.embedder.read())
        detector = (self.detector.description, self.detector.read())
        return local_pipeline(self.configured, detector, embedder, told_from=told_from)


@click.command()
@click.option("--pairs", type=FILE, help="LFW's pairs.txt, or a CSV: image1,image2,same and, if you like, fold.")
@click.option("--boxes", type=FILE, help="Faces to be found, in the format of WIDER FACE's ground truth.")
@click.option("--images", type=FOLDER, help="Where the pictures are that FILE names. Default: where FILE is.")
@click.option("--detector", metavar="ID", help="Default: the setting FACEBENTO_DETECTOR.")
@click.option("--embedder", metavar="ID", help="Default: the setting FACEBENTO_EMBEDDER.")
@click.option("--out", type=FOLDER, default=Path("build/evaluation"), show_default=True, help="Where the results go.")
@click.option("--name", help="What the pictures are called in the results. Default: FILE without its extension.")
@click.option("--keep", is_flag=True, help="Keep what was answered for each picture when all is done.")
def evaluate(
    *,
    pairs: Path | None,
    boxes: Path | None,
    images: Path | None,
    detector: str | None,
    embedder: str | None,
    out: Path,
    name: str | None,
    keep: bool,
) -> None:
    """Measure how right the answers are, on labelled pictures, with the service's models, settings and code.

    --pairs: is it the same person? Accuracy, TAR at FAR, equal error rate; evaluation.json and roc.png. --boxes: are
    the faces found? Average precision; detection.json and precision-recall.png.

    A run that was interrupted goes on where it was when it is started again. For that, what was answered for each
    picture is kept beside the results until all is done: with --pairs these are embeddings, which are biometric data.
    """
    if (pairs is None) == (boxes is None):
        raise click.UsageError("give either --pairs or --boxes")
    listed = pairs or boxes
    assert listed is not None  # noqa: S101  for the types
    from evaluation import drawing  # noqa: F401  says what is missing before the work begins

    given = {role: model for role, model in (("detector", detector), ("embedder", embedder)) if model is not None}
    configured = settings.load().model_copy(update=given)
    task = Task(
        configured,
        _find("detector", configured.detector),
        _find("embedder", configured.embedder) if pairs else None,
        listed.parent if images is None else images,
        out,
        name or listed.stem,
        keep,
    )
    (_evaluate_pairs if pairs else _evaluate_boxes)(task, listed)


def _evaluate_pairs(task: Task, listed: Path) -> None:
    from evaluation import drawing, verification
    from evaluation.journal import Answer
    from evaluation.measure import measure_pairs
    from evaluation.pairs import read_pairs
    from evaluation.report import pairs_table

    pairs = read_pairs(listed, task.images)
    pipeline = task.pipeline()

    async def ask(photo: "Photo") -> Answer:
        largest = await pipeline.embed_largest(photo)
        return Answer() if largest is None else Answer.of(largest[1])

    assert task.embedder is not None  # noqa: S101  for the types
    spec = task.embedder.description.embedder
    assert spec is not None  # noqa: S101  it has the role
    pictures = [picture for pair in pairs for picture in (pair.first, pair.second)]
    with _answered(task, "pairs", pictures, ask, "It holds embeddings, which are biometric data.") as answers:
        found = measure_pairs(
            pairs,
            answers,
            spec.mapping,
            facebento=api.__version__,
            data=task.name,
            detector=task.detector.tag,
            embedder=task.embedder.tag,
            fingerprint=task.embedder.description.fingerprint,
        )
        results = [task.out / "evaluation.json"]
        found.save(results[0])
        drawn = task.out / "roc.png"
        if found.answered is None:
            drawn.unlink(missing_ok=True)  # an older one is of other figures
        else:
            results.append(drawn)
            curve = verification.roc(*found.cosines.arrays())
            drawing.draw_roc(curve, found.answered.served, f"{task.name}, {task.embedder.description.id}", drawn)
    _tell(pairs_table(found), found.failed, found.pictures, results)


def _evaluate_boxes(task: Task, listed: Path) -> None:
    from cli.options import MOST_FACES
    from evaluation import drawing
    from evaluation.boxes import read_boxes
    from evaluation.journal import Answer
    from evaluation.measure import measure_boxes
    from evaluation.report import boxes_table
    from faces.detection import Order

    labelled = read_boxes(listed, task.images)
    description = task.detector.description
    spec = description.detector
    assert spec is not None  # noqa: S101  it has the role
    lowest = min(LOWEST_CONFIDENCE, spec.score_threshold)
    pipeline = task.pipeline(told_from=lowest)

    async def ask(photo: "Photo") -> Answer:
        faces = await pipeline.detect(photo, Order.CONFIDENCE, MOST_FACES)
        return Answer(faces=tuple((face.left, face.top, face.right, face.bottom, face.confidence) for face in faces))

    with _answered(
        task, "boxes", [each.picture for each in labelled], ask, "It holds boxes, no embeddings."
    ) as answers:
        found, curve = measure_boxes(
            labelled,
            answers,
            facebento=api.__version__,
            data=task.name,
            detector=task.detector.tag,
            score_threshold=spec.score_threshold,
            lowest_confidence=lowest,
        )
        results = [task.out / "detection.json", task.out / "precision-recall.png"]
        found.save(results[0])
        drawing.draw_precision_recall(curve, spec.score_threshold, f"{task.name}, {description.id}", results[1])
    _tell(boxes_table(found), found.failed, found.pictures, results)


@contextmanager
def _answered(
    task: Task,
    kind: str,
    pictures: Sequence[str],
    ask: "Callable[[Photo], Awaitable[Answer]]",
    what_it_holds: str,
) -> "Iterator[dict[str, Answer]]":
    """The answer for each picture. Its journal goes once the block has done its work with them, unless it is kept."""
    from evaluation.journal import Journal
    from evaluation.run import answers
    from runners.errors import RunnerUnavailableError
    from search import searches_at_once

    async def ask_telling(photo: "Photo") -> "Answer":
        try:
            return await ask(photo)
        except RunnerUnavailableError as error:
            # No answer of its own: a device that fails, fails from one picture on, and figures of the rest mislead.
            raise RunnerUnavailableError(
                f"{photo.path}: {error} The same command goes on where it was. If it ends with this picture again, "
                "take it out of the list"
            ) from error

    configured = task.configured
    distinct = list(dict.fromkeys(pictures))
    try:
        with Journal(task.out / f"{kind}.answers.jsonl", [kind, *task.context]) as journal:
            click.echo(
                f"{len(distinct):,} pictures. Until all is done, {journal.file} is kept. {what_it_holds}", err=True
            )
            hidden = not sys.stderr.isatty()
            try:
                with click.progressbar(length=len(distinct), label="pictures", file=sys.stderr, hidden=hidden) as bar:
                    run = answers(
                        distinct,
                        task.images,
                        ask_telling,
                        journal,
                        # More than are decoded at once may be too many large ones to be searched: RunnerBusyError.
                        at_once=min(configured.threads, 2 * searches_at_once(configured.decode_threads)),
                        done=lambda: bar.update(1),
                    )
                    found = asyncio.run(run)
            except (KeyboardInterrupt, SystemExit):
                click.echo(f"\nInterrupted. {journal.file} is kept: the same command goes on where it was.", err=True)
                raise
            yield found
            if not task.keep:
                journal.remove()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise click.ClickException(f"can't write to {task.out}: {error.strerror or error}") from error


def _find(role: str, model_id: str) -> "StoredModel":
    from models import store

    found = store.find(model_id)
    if found.description.role != role:
        raise click.ClickException(f"{model_id} is no {role}. See: facebento models list")
    return found


def _tell(table: str, failed: dict[str, str], pictures: int, results: Sequence[Path]) -> None:
    click.echo(table)
    if failed:
        click.echo(f"{len(failed):,} of {pictures:,} pictures have no answer; {results[0]} names them")
    click.echo(f"written: {', '.join(map(str, results))}")
