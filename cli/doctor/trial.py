"""One picture all the way: does each model run, and how long does it take?"""

import asyncio
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import stages
from api.settings import Settings, SettingsError
from cli.doctor.finding import Finding, ok, problem, warning
from cli.home import PICTURE
from cli.local import served_pipeline
from evaluation.run import Photo
from faces.detection import Face
from faces.errors import InputError
from models.errors import ModelError
from runners import onnx
from runners.errors import RunnerError

T = TypeVar("T")

# Of the picture: where its face is, give or take; left, top, right, bottom.
FACE = (160, 50, 290, 190)


def check(configured: Settings, home: Path) -> Iterator[Finding]:
    placements = []
    try:
        photo = Photo(PICTURE, (home / PICTURE).read_bytes())
        began = time.perf_counter()
        pipeline = served_pipeline(configured, placed=lambda *each: placements.append(each))
        opened_ms = (time.perf_counter() - began) * 1000
        asyncio.run(pipeline.embed_largest(photo))  # the first one finds its memory
        work = stages.Work("doctor")
        found = asyncio.run(_noted(work, pipeline.embed_largest(photo)))
    except (InputError, ModelError, RunnerError, SettingsError) as error:
        yield problem("trial", str(error), "What is told above comes first; then: docs/operations.md, Start")
        return
    except OSError as error:
        yield problem("trial", f"{home / PICTURE} can't be read: {error.strerror}", "git checkout docs/images")
        return
    took = {name: 1000 * seconds for name, seconds in work.seconds.items()}
    for (model, placement), stage in zip(placements, ("detect", "embed"), strict=True):
        told = f"{model.id} took {took.get(stage, 0):.0f} ms on {placement.device} ({placement.provider})"
        if placement.device == "cpu" and configured.device != "cpu" and onnx.cuda_devices():
            yield warning(
                f"trial, {model.role}",
                f"{told}, though there is a GPU, which could not be used",
                "FACEBENTO_DEVICE=cuda refuses to start instead, and says why",
            )
        else:
            yield ok(f"trial, {model.role}", told)
    if found is None or not _in_place(found[0]):
        yield problem(
            "trial",
            f"the one face of {PICTURE} was not found where it is",
            "facebento models verify; a model of your own: facebento models import --dry-run",
        )
        return
    yield ok(
        "trial", f"the face of {PICTURE} was found, {sum(took.values()):.0f} ms in all; opening {opened_ms:.0f} ms"
    )


async def _noted(work: stages.Work, asked: Coroutine[Any, Any, T]) -> T:
    stages.current.set(work)
    return await asked


def _in_place(face: Face) -> bool:
    left, top, right, bottom = FACE
    return left < face.left < face.right < right and top < face.top < face.bottom < bottom
