"""How fast a service answers: so many clients at a time, each of which asks again as soon as it is answered."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final
from urllib.parse import urlsplit

import click

from bench.client import NO_ANSWER, Address, Answer, Connection, encode, form_post
from bench.load import Tally, closed_loop
from cli.photos import printable

ENDPOINTS: Final = {"detect": "/v1/file/detect", "embed": "/v1/file/embeddings", "score": "/v1/file/score"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and how many faces its first answer has: a service that answers nothing of use is not fast."""

    name: str
    request: bytes
    faces: int

    def wrong(self, answer: Answer) -> bool:
        if answer.status != 200:
            return False
        try:
            return count_faces(answer.json()) != self.faces
        except ValueError:  # of something that stands before the service
            return True


@dataclass(frozen=True, slots=True)
class Measured:
    endpoint: str  # of ENDPOINTS
    clients: int
    requests_a_second: float  # of the answers, over the time until the last of them came
    p50_ms: float
    p95_ms: float
    p99_ms: float
    answers: int  # 200s that are as the first one was
    errors: Mapping[str, int]  # by status, `no answer`, or `another answer`

    @classmethod
    def of(cls, endpoint: str, clients: int, tally: Tally, seconds: float) -> "Measured":
        """seconds: until the last one was answered. By the time alone for which new ones were asked, few that take
        long would count as none.
        """
        errors = {
            "no answer" if status == NO_ANSWER else str(status): count
            for status, count in sorted(tally.statuses.items())
            if status != 200
        }
        if tally.wrong:
            errors["another answer"] = len(tally.wrong)
        p50, p95, p99 = (tally.ms(percent) for percent in (50, 95, 99))
        answers = tally.statuses[200] - len(tally.wrong)
        return cls(endpoint, clients, answers / seconds, p50, p95, p99, answers, errors)


class Target:
    """A service that is measured, at its address."""

    def __init__(self, url: str, key: str) -> None:
        """Raises click's error for an address that is none, and for a key that can't be sent."""
        try:
            self._address = Address.of(url)
            url.encode("ascii")
            self._address.host.encode("idna")
        except UnicodeError as error:
            raise click.UsageError(f"--url {url} is no address of a host, in ASCII") from error
        except ValueError as error:
            raise click.UsageError(f"--url {error}") from error
        if not (key.isascii() and key.isprintable()):
            raise click.UsageError("the key holds what none of the service's can: it is of printable ASCII")
        parts = urlsplit(url)
        self._host = parts.netloc.rpartition("@")[2]
        self._path = parts.path.rstrip("/")
        self._key = key

    async def about(self) -> dict[str, Any]:
        """What the service tells of itself. Raises ClickException where it is no facebento, or not there."""
        connection = Connection(self._address)
        try:
            await connection.open()
        except OSError as error:
            raise click.ClickException(f"{self._host} can't be reached: {error.strerror or error}") from error
        answer = await connection.ask(encode("GET", f"{self._path}/v1/info/server", host=self._host))
        connection.close()
        try:
            about = answer.json()
        except ValueError:
            about = None
        if answer.status != 200 or not _is_facebento(about):
            raise click.ClickException(f"what answers at {self._host}{self._path} is no facebento that can be measured")
        told: dict[str, Any] = about
        return told

    async def questions(self, endpoint: str, photos: Sequence[bytes]) -> list[Asked]:
        """One for each photo, asked once. Raises ClickException for an answer that is none."""
        return [await self._question(endpoint, photos, number) for number in range(len(photos))]

    async def measure(self, endpoint: str, asked: Sequence[Asked], *, clients: int, seconds: float) -> Measured:
        began = time.perf_counter()
        tally = await closed_loop(self._address, asked, clients=clients, seconds=seconds)
        return Measured.of(endpoint, clients, tally, time.perf_counter() - began)

    async def _question(self, endpoint: str, photos: Sequence[bytes], number: int) -> Asked:
        fields = {"image": photos[number]}
        if endpoint == "score":
            fields = {"image1": photos[number], "image2": photos[(number + 1) % len(photos)]}
        request = form_post(self._path + ENDPOINTS[endpoint], self._key, fields, host=self._host)
        connection = Connection(self._address)
        answer = await connection.ask(request)
        connection.close()
        if answer.status != 200:
            raise click.ClickException(f"photo {number + 1} to {ENDPOINTS[endpoint]}: {_reason(answer)}")
        try:
            return Asked(endpoint, request, count_faces(answer.json()))
        except ValueError:
            raise click.ClickException(
                f"what stands before {self._host} answers in another form than the service: measure the service itself"
            ) from None


def count_faces(answer: Any) -> int:
    """In an answer of one of ENDPOINTS. Raises ValueError for what is none."""
    try:
        faces = answer.get("faces") or answer.get("face_detects") or [answer.get("face_detect", {})]
        return sum(bool(face.get("processed")) for face in faces)
    except (AttributeError, TypeError) as error:
        raise ValueError("the service answers in another form") from error


def run(
    target: Target,
    photos: Sequence[bytes],
    *,
    clients: Sequence[int],
    seconds: float,
    began: Callable[[str, int], None],
) -> Iterator[Measured]:
    """Each endpoint with each number of clients, as they are done, in `seconds` and what the last answers take."""
    each_s = seconds / (len(ENDPOINTS) * len(clients))
    for endpoint in ENDPOINTS:
        asked = asyncio.run(target.questions(endpoint, photos))
        for count in clients:
            began(endpoint, count)
            yield asyncio.run(target.measure(endpoint, asked, clients=count, seconds=each_s))


def stages_ms(log: Path, begin: int) -> dict[str, float]:
    """What a request spent where, by the lines of a service's log from that byte on: medians of the 200s."""
    spent: dict[str, list[float]] = {}
    with log.open("rb") as file:
        file.seek(begin)
        for line in file:
            try:
                told = json.loads(line)
            except ValueError:
                continue
            if isinstance(told, dict) and told.get("status") == 200:
                for stage, ms in told.get("stages_ms", {}).items():
                    spent.setdefault(stage, []).append(ms)
    return {stage: round(median(values), 2) for stage, values in spent.items()}


def _reason(answer: Answer) -> str:
    if answer.status == NO_ANSWER:
        return "no answer"
    try:
        detail = answer.json()["detail"]
        told = detail if isinstance(detail, str) else "; ".join(str(each["msg"]) for each in detail)
    except (ValueError, LookupError, TypeError):
        told = ""
    return f"{answer.status} {printable(told)}".strip()


def _is_facebento(about: Any) -> bool:
    texts = ("version", "device", "execution_provider")
    return (
        isinstance(about, dict)
        and about.get("name") == "facebento"
        and all(isinstance(about.get(each), str) for each in texts)
    )
