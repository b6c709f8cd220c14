"""Coverage-guided fuzzing of bodies, JSON and forms: through the gate and the app, to a pipeline without models.

The first byte picks the endpoint and the content type, the others are the body.

    python -m tests.fuzz.fuzz_bodies --seconds 60
"""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import atheris

with atheris.instrument_imports(include=["api", "python_multipart", "starlette.formparsers"]):
    from api import admission, endpoints, gate, keys
    from api import app as apps

from faces.detection import Face, Order
from faces.errors import ImageCorruptError
from tests.fuzz.fuzzing import fuzz

KEY = b"fuzz"
MAX_BYTES = 2048
PATHS = ["/v1/detect", "/v1/multi-feature", "/v1/score", "/v1/file/detect", "/v1/file/score"]
FORM = b"multipart/form-data; boundary=x"
TYPES = [b"application/json", FORM, b"", b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=\xff;=;"]
STATUSES = {200, 400, 413, 422}


class NoModels:
    """Reads what was sent, and finds nobody."""

    async def detect(self, upload: Any, order: Order, limit: int) -> list[Face]:
        assert order in Order
        assert 1 <= limit <= 750
        assert isinstance(upload.read(), bytes)
        return []

    async def embed_all(self, upload: Any, limit: int) -> list[Any]:
        return list(await self.detect(upload, Order.CONFIDENCE, limit))

    async def compare(self, first: Any, second: Any) -> Any:
        assert isinstance(first.read() + second.read(), bytes)
        raise ImageCorruptError("Both are.")


def guarded_app() -> gate.Gate:
    inner = apps.create_app(endpoints.faces_api)
    inner.dependency_overrides[endpoints.current_pipeline] = NoModels
    names = keys.read_keys([("FACEBENTO_API_KEYS", [KEY.decode()])])
    return gate.Gate(
        inner,
        guarded=lambda _: True,
        keys=lambda: names,
        admission=admission.Admission(
            places=lambda: 1, max_in_flight=1, max_body_memory_bytes=MAX_BYTES, patience_s=30
        ),
        max_body_bytes=MAX_BYTES,
        deadline_s=30,
    )


APP = guarded_app()
LOOP = asyncio.new_event_loop()


def target(data: bytes) -> None:
    choice = data[0] if data else 0
    path, content_type = PATHS[choice % len(PATHS)], TYPES[choice // len(PATHS) % len(TYPES)]
    status, body = LOOP.run_until_complete(ask(path, content_type, data[1:]))
    assert status in STATUSES, status
    answer = json.loads(body)
    if status == 422:
        assert all(set(entry) == {"loc", "msg", "type"} for entry in answer["detail"])
    else:
        assert (status == 200) == ("detail" not in answer)


async def ask(path: str, content_type: bytes, body: bytes) -> tuple[int, bytes]:
    """The body comes in two pieces, as it may."""
    half = len(body) // 2
    pieces = iter([(body[:half], True), (body[half:], False)])
    answered: list[Any] = []

    async def receive() -> dict[str, Any]:
        if (left := next(pieces, None)) is None:
            await asyncio.Event().wait()  # the client stays until it is answered
            raise AssertionError
        piece, more = left
        return {"type": "http.request", "body": piece, "more_body": more}

    async def send(message: Any) -> None:
        answered.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"x-api-key", KEY), *([(b"content-type", content_type)] if content_type else [])],
    }
    await APP(scope, receive, send)
    start, *rest = answered
    return start["status"], b"".join(message["body"] for message in rest)


def corpus() -> Iterator[bytes]:
    part = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    image = part % (b"image", b'; filename="a"', b"1234")
    number = part % (b"maxResults", b"", b"7")
    both = part % (b"image1", b'; filename="a"', b"1") + part % (b"image2", b"; filename*=UTF-8''a", b"2")
    for choice in range(len(PATHS) * len(TYPES)):
        first = bytes([choice])
        yield first + b'{"image": "QUJD", "maxResults": 7, "seq": -1e3, "detectSortType": 2, "x": [{}, null]}'
        yield first + b'{"image1": "QUJD", "image2": "data:image/png;base64,QUJD"}'
        yield first + image + number + b"--x--\r\n"
        yield first + both + b"--x--"
        yield first + b"image=a&maxResults=7&seq=%00+1"


if __name__ == "__main__":
    fuzz(target, corpus(), longest=MAX_BYTES + 2)
