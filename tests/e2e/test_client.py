"""The Python client against a real service: every endpoint, both ways, and the same scores where features are kept."""

import asyncio
import io
import re
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import api
from facebento_client import (
    AsyncClient,
    AuthenticationError,
    Client,
    DetectSortType,
    ImageSource,
    InvalidRequestError,
    NotFoundError,
    TooLargeError,
)
from facebento_client.gallery import Gallery
from faces.alignment import similarity
from faces.templates import ARCFACE_SIZE, ARCFACE_TEMPLATE
from tests.e2e.running import PROJECT, Server, jpeg

pytestmark = pytest.mark.e2e

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def her(astronaut: Pixels) -> bytes:
    return jpeg(astronaut)


@pytest.fixture(scope="module")
def him(grace_hopper: Pixels) -> bytes:
    return jpeg(grace_hopper)


def aligned(client: Client, image: Pixels) -> Pixels:
    """The crop that the endpoints without detection take."""
    points = np.array(client.detect(image)[0].landmarks, np.float32)
    matrix = similarity(points, ARCFACE_TEMPLATE)
    size = ARCFACE_SIZE
    return np.asarray(cv2.warpAffine(image, np.asarray(matrix)[:2].astype(float), (size, size)), np.uint8)


def every_method(client: Any, her: bytes, him: bytes, crop: Pixels, feature: str) -> list[Any]:
    """Results, or what is to be awaited for them."""
    return [
        client.detect(her),
        client.feature(her),
        client.feature_only(crop),
        client.multi_feature(her),
        client.embeddings(her),
        client.embeddings_only(crop),
        client.multi_embeddings(her),
        client.score(her, him),
        client.feature_score(feature, feature),
        client.health(),
        client.server_info(),
        client.model_names(),
        client.model_info("centerface"),
    ]


def test_every_endpoint_of_the_service_has_a_method(server: Server, astronaut: Pixels, her: bytes, him: bytes) -> None:
    """And whichever client asks, and whichever way the images go, the answer is the same."""
    asked: set[tuple[str, str]] = set()

    def note(request: httpx.Request) -> None:
        asked.add((request.method.lower(), request.url.path))

    async def note_too(request: httpx.Request) -> None:
        note(request)

    with Client(server.url, api_key=server.key) as plain:
        crop = aligned(plain, astronaut)
        feature = plain.feature(her).feature
    assert feature is not None

    def ask() -> list[Any]:
        with httpx.Client(event_hooks={"request": [note]}) as http:
            client = Client(server.url, api_key=server.key, http=http)
            return every_method(client, her, him, crop, feature.to_base64())

    async def ask_async() -> list[Any]:
        async with httpx.AsyncClient(event_hooks={"request": [note_too]}) as http:
            client = AsyncClient(server.url, api_key=server.key, form=False, http=http)
            return await asyncio.gather(*every_method(client, her, him, crop, feature.to_base64()))

    by_forms, by_json = ask(), asyncio.run(ask_async())
    assert [type(each) for each in by_forms] == [type(each) for each in by_json]
    assert by_forms[0] == by_json[0]
    assert by_forms[7:] == by_json[7:]
    assert by_forms[4].embedding == pytest.approx(by_json[4].embedding, abs=1e-5)

    openapi = httpx.get(f"{server.url}/openapi.json").json()
    offered = {
        (method, path.replace("{model_name}", "centerface"))
        for path, methods in openapi["paths"].items()
        for method in methods
    }
    assert asked == offered
    assert len(offered) == 19


def test_results_tell_what_the_service_found(server: Server, astronaut: Pixels, her: bytes, him: bytes) -> None:
    with Client(server.url, api_key=server.key) as client:
        [face] = client.detect(her, detect_sort_type=DetectSortType.LEFT_TO_RIGHT, max_results=1, seq=7)
        assert 190 < (face.box.left + face.box.right) / 2 < 260
        assert face.landmarks.left_eye.x < face.landmarks.nose.x < face.landmarks.right_eye.x
        assert face.confidence > 0.5
        assert client.detect(Image.fromarray(astronaut))[0].box == client.detect(astronaut)[0].box
        result = client.feature(her)
        assert (result.face, result.version) == (face, api.__version__)
        only = client.feature_only(aligned(client, astronaut))
        assert only.face is None
        assert result.feature is not None
        assert only.feature is not None
        assert result.feature.similarity(only.feature) > 0.95
        score = client.score(her, him)
        assert score.score < 0.5
        assert score.draw(her, him).width > 512
        assert client.server_info().version == api.__version__
        assert client.health().ready
        assert client.ready()
        client.wait_until_ready(timeout_s=1)


def test_local_comparison_is_the_services(server: Server, astronaut: Pixels, her: bytes, him: bytes) -> None:
    with Client(server.url, api_key=server.key) as client:
        mapping = client.score_mapping()
        images: list[ImageSource] = [her, him, jpeg(astronaut, quality=30), np.ascontiguousarray(astronaut[:, ::-1])]
        features = [feature for image in images if (feature := client.feature(image).feature)]
        assert len(features) == len(images)
        first = features[0]
        scores = [client.feature_score(first, each) for each in features]
        assert scores[0] > scores[2] > 0.9
        assert scores[1] < 0.5
        assert [first.compare(each, mapping) for each in features] == pytest.approx(scores, abs=1e-9)
        assert Gallery(mapping, enumerate(features)).scores(first) == pytest.approx(scores, abs=1e-9)
        assert client.score(her, him).score == pytest.approx(scores[1], abs=1e-3)


def test_errors_are_told_apart(server: Server, astronaut: Pixels) -> None:
    with Client(server.url, api_key=server.key) as client:
        with pytest.raises(InvalidRequestError) as caught:
            client.detect(b"no image")
        [problem] = caught.value.problems
        assert (problem.loc, problem.type) == (("body", "image"), "image_unsupported_format")
        assert caught.value.request_id is not None
        assert caught.value.request_id in str(caught.value)
        with pytest.raises(InvalidRequestError, match="112"):
            client.feature_only(astronaut)
        with pytest.raises(NotFoundError):
            client.model_info("no such model")
        with pytest.raises(TooLargeError):
            client.detect(bytes(11 << 20))
    with pytest.raises(AuthenticationError), Client(server.url, api_key="a-wrong-one") as client:
        client.detect(astronaut)


def test_many_images_at_a_time(server: Server, her: bytes, him: bytes) -> None:
    async def found() -> list[int]:
        async with AsyncClient(server.url, api_key=server.key) as client:
            images: list[ImageSource] = [her, him, io.BytesIO(her), b"no image"] * 3
            each = client.map(client.detect, images, concurrency=4)
            return [-1 if isinstance(result, Exception) else len(result) async for _, result in each]

    counted = sorted(asyncio.run(found()))
    # A file object is read to its end the first time, and empty the other two.
    assert counted == [-1] * 5 + [1] * 7


@pytest.fixture
def reader(server: Server, her: bytes, him: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody with the pictures that the docs name, and a key in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACEBENTO_API_KEY", server.key)
    for name, image in (("photo.jpg", her), ("other.jpg", him)):
        (tmp_path / name).write_bytes(image)


PAGES = [PROJECT / "docs" / "client.md", PROJECT / "clients" / "python" / "README.md"]


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_in_the_docs_runs(page: Path, server: Server) -> None:
    """Every block of Python, one after the other, as one reads them."""
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert blocks
    code = "\n".join(blocks).replace("http://127.0.0.1:3000", server.url).replace('"fb_..."', repr(server.key))
    names: dict[str, Any] = {"__name__": "docs"}
    try:
        exec(compile(code, page.name, "exec"), names)  # noqa: S102  the project's own
    finally:
        for each in names.values():
            if isinstance(each, Client | httpx.Client):
                each.close()
