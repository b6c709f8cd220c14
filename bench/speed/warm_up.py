"""Before anything is measured: the service answers what the ceiling's work gives, and both have run for a while."""

from typing import Any

import numpy as np

from bench.speed.pictures import body, one_face
from bench.speed.run import Run
from bench.speed.service import DETECT, EMBEDDINGS, JOBS
from bench.speed.work import Work
from faces.detection import Face

CLIENTS = 16
PIXELS_OFF = 2  # of a box, whose sides the service answers in whole pixels
LEAST_COSINE = 0.999


class OtherWorkError(Exception):
    """The service does something else than the ceiling."""


def same_work(run: Run) -> None:
    """Raises OtherWorkError."""
    picture = one_face()
    work = Work(run.detector, run.embedder)
    faces, largest = work.detect(picture), work.embeddings(picture)
    if len(faces) != 1 or largest is None:
        raise OtherWorkError(f"{run.detector[0].id} finds {len(faces)} faces in the picture, which has one")
    for service in run.services:
        found = service.answer(DETECT, body(picture))["faces"]
        _same(faces[0], found[0] if len(found) == 1 else None)
        embedded = service.answer(EMBEDDINGS, body(picture))
        _same(largest[0], embedded["face_detect"])
        if np.dot(embedded["embeddings"], largest[1]) < LEAST_COSINE:
            raise OtherWorkError("the service answers another embedding than the same work without it")


def _same(face: Face, told: Any) -> None:
    box = told and told["boundingBox"]
    if not box or any(abs(box[side] - getattr(face, side)) > PIXELS_OFF for side in box):
        raise OtherWorkError(f"the service finds {box or 'no one face'}, and the same work without it {face}")


# In which a cold service of two cores answers all of its clients once, and more.
LEAST_S = 4


def warm_up(run: Run) -> None:
    picture = one_face()
    for job in JOBS:
        run.ceiling.run(job.name, picture, run.seconds / 4)
        for service in run.services:
            service.load(job, body(picture), clients=CLIENTS, seconds=max(LEAST_S, run.seconds / 4))
