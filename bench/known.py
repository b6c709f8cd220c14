"""Good requests whose right answers are known: what an idle server answered, checked for sense."""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from PIL import Image

from bench.client import Address, Answer, Connection, form_post, json_post
from tests.e2e.running import PROJECT, Server

PHOTO = (PROJECT / "docs" / "images" / "astronaut.jpg").read_bytes()  # 512 x 512, one face
ANOTHER = Path(mpl.get_data_path(), "sample_data", "grace_hopper.jpg").read_bytes()  # 512 x 606, one face
FACE_BOX = (160, 50, 290, 180)  # inside of which the photo's lies; left, top, right, bottom
PIXELS_OFF = 2  # of a box or a landmark, between a batch and a lone image
NUMBERS_OFF = 2e-3  # of a confidence, a score, an embedding's element


@dataclass(frozen=True)
class Known:
    """A request, encoded, and its right answer."""

    name: str
    request: bytes
    right: Any

    def wrong(self, answer: Answer) -> bool:
        """Whether a 200 says something else."""
        return answer.status == 200 and not _alike(answer.json(), self.right)


def crop(size: int = 112) -> bytes:
    """The photograph's face as a JPEG of size x size pixels."""
    with Image.open(io.BytesIO(PHOTO)) as photo:
        face = photo.convert("RGB").crop(FACE_BOX).resize((size, size))
    file = io.BytesIO()
    face.save(file, "JPEG", quality=92)
    return file.getvalue()


async def learn(server: Server) -> list[Known]:
    """Of two people, so that an answer given to the wrong client shows.

    Asks a server that is otherwise idle. Raises RuntimeError where its answers make no sense.
    """
    key, address = server.key, Address.of(server.url)
    feature = (await _ask(address, form_post("/v1/file/feature", key, {"image": PHOTO})))["feature"]
    requests = {
        "detect": json_post("/v1/detect", key, {"image": PHOTO}),
        "embeddings": form_post("/v1/file/embeddings", key, {"image": PHOTO}),
        "embeddings of another": form_post("/v1/file/embeddings", key, {"image": ANOTHER}),
        "detect another": form_post("/v1/file/detect", key, {"image": ANOTHER}),
        "embeddings-only": json_post("/v1/embeddings-only", key, {"image": crop()}),
        "feature": json_post("/v1/feature", key, {"image": PHOTO}),
        "score": form_post("/v1/file/score", key, {"image1": PHOTO, "image2": crop(300)}),
        "score of two": form_post("/v1/file/score", key, {"image1": PHOTO, "image2": ANOTHER}),
        "feature-score": json_post("/v1/feature-score", key, {"feature1": feature, "feature2": feature}),
    }
    found = [Known(name, request, await _ask(address, request)) for name, request in requests.items()]
    right = {each.name: each.right for each in found}
    box = right["detect"]["faces"][0]["boundingBox"]
    left, top, end, bottom = FACE_BOX
    if not (left < box["left"] < box["right"] < end and top < box["top"] < box["bottom"] < bottom):
        raise RuntimeError(f"the idle server finds the face of the photograph at {box}")
    if not right["score of two"]["score"] < 0.5 < right["score"]["score"]:
        raise RuntimeError("the idle server takes two people for one, or one for two")
    for name in ("embeddings", "embeddings of another", "feature"):
        again = await _ask(address, requests[name])
        if not _alike(again, right[name]):
            raise RuntimeError(f"the idle server answers {name} differently each time")
    return found


def named(known: Sequence[Known], name: str) -> Known:
    return next(each for each in known if each.name == name)


async def _ask(address: Address, request: bytes) -> Any:
    connection = Connection(address)
    answer = await connection.ask(request)
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"the idle server answers {answer.status}: {answer.body[:300]!r}")
    return json.loads(answer.body)


def _alike(one: Any, other: Any) -> bool:
    match one, other:
        case dict(), dict():
            return one.keys() == other.keys() and all(
                _alike_features(one[name], other[name]) if name == "feature" else _alike(one[name], other[name])
                for name in one
            )
        case list(), list():
            return len(one) == len(other) and all(map(_alike, one, other))
        case bool(), bool():
            return one is other
        case int(), int():
            return abs(one - other) <= PIXELS_OFF
        case ((int() | float()), (int() | float())):
            return abs(one - other) <= NUMBERS_OFF
        case _:
            return bool(one == other)


def _alike_features(one: str, other: str) -> bool:
    """Header for header, and the vectors but for rounding (docs/feature-format.md)."""
    a, b = base64.b64decode(one), base64.b64decode(other)
    one_vector, other_vector = (np.frombuffer(each[24:-4], "<f4") for each in (a, b))
    return a[:24] == b[:24] and bool(np.allclose(one_vector, other_vector, atol=NUMBERS_OFF))
