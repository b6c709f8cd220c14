"""What each method sends, and what it makes of the answer."""

import base64
import inspect
import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from clients.python.tests.answering import EMBEDDER, FACE, KEY, NOBODY, Ask, answers, feature, sync_client
from facebento_client import (
    AsyncClient,
    Box,
    Client,
    DetectResult,
    DetectSortType,
    EmbeddingsResult,
    Face,
    FaceEmbedding,
    FaceFeature,
    FeatureResult,
    Health,
    Landmarks,
    MultiEmbeddingsResult,
    MultiFeatureResult,
    NoAnswerInTimeError,
    Point,
    ScoreMapping,
    ScoreResult,
    UnexpectedAnswerError,
)

IMAGE = b"\xff\xd8\xff the bytes of a file"
OTHER = b"the other"
HERS, HIS = feature(0.6, 0.8), feature(1, 0)
FOUND = Face(
    Box(10, 20, 50, 70), Landmarks(Point(20, 35), Point(40, 35), Point(30, 45), Point(22, 58), Point(38, 58)), 0.875
)
FEATURE = {"version": "1", "feature": HERS.to_base64(), "face_detect": FACE}
EMBEDDINGS = {"version": "1", "embeddings": [0.6, 0.8], "face_detect": FACE}
EMBEDDER_INFO = {
    "name": "an-embedder",
    "role": "embedder",
    "licence": "MIT",
    "sha256": "ab",
    "input_size": 112,
    "dimensions": 2,
    "fingerprint": EMBEDDER.hex(),
    "score_mapping": {"formula": "...", "cosine": 0.3, "steepness": 5.0},
    "thresholds": {"cosine": 0.3},
}
DETECTOR_INFO = {"name": "a-detector", "role": "detector", "licence": "MIT", "sha256": "cd", "input_size": 640}
MAPPING = ScoreMapping(EMBEDDER.hex(), 0.3, 5.0)


@dataclass(frozen=True)
class Post:
    method: str
    path: str
    answer: Any
    result: Any
    fields: dict[str, Any] = field(default_factory=dict)  # as they are sent
    options: dict[str, Any] = field(default_factory=dict)  # as they are given
    form_path: str | None = None
    args: tuple[Any, ...] = (IMAGE,)


POSTS = [
    Post(
        "detect",
        "/v1/detect",
        {"seq": 7, "faces": [FACE]},
        DetectResult((FOUND,), 7),
        {"maxResults": 3, "detectSortType": 1, "seq": 7},
        {"max_results": 3, "detect_sort_type": DetectSortType.AREA, "seq": 7},
        "/v1/file/detect",
    ),
    Post("feature", "/v1/feature", FEATURE, FeatureResult(HERS, FOUND, "1"), form_path="/v1/file/feature"),
    Post(
        "feature_only",
        "/v1/feature-only",
        FEATURE | {"face_detect": NOBODY},
        FeatureResult(HERS, None, "1"),
        form_path="/v1/file/feature-only",
    ),
    Post(
        "multi_feature",
        "/v1/multi-feature",
        {"version": "1", "feature_info_list": [{"feature": HERS.to_base64(), "face_detect": FACE}]},
        MultiFeatureResult((FaceFeature(FOUND, HERS),), "1"),
        {"maxResults": 2},
        {"max_results": 2},
    ),
    Post(
        "embeddings",
        "/v1/embeddings",
        EMBEDDINGS,
        EmbeddingsResult((0.6, 0.8), FOUND, "1"),
        form_path="/v1/file/embeddings",
    ),
    Post(
        "embeddings_only",
        "/v1/embeddings-only",
        EMBEDDINGS | {"face_detect": NOBODY},
        EmbeddingsResult((0.6, 0.8), None, "1"),
        form_path="/v1/file/embeddings-only",
    ),
    Post(
        "multi_embeddings",
        "/v1/multi-embeddings",
        {"version": "1", "embeddings_info_list": [{"embeddings": [0.6, 0.8], "face_detect": FACE}]},
        MultiEmbeddingsResult((FaceEmbedding(FOUND, (0.6, 0.8)),), "1"),
        {"maxResults": 128},
    ),
    Post(
        "score",
        "/v1/score",
        {"score": 0, "face_detects": [FACE, NOBODY]},
        ScoreResult(0, (FOUND, None)),
        form_path="/v1/file/score",
        args=(IMAGE, OTHER),
    ),
    Post(
        "feature_score",
        "/v1/feature-score",
        {"score": 0.25},
        0.25,
        {"feature1": HERS.to_base64(), "feature2": HIS.to_base64()},
        args=(HERS, HIS.to_base64()),
    ),
]


def images(post: Post) -> dict[str, bytes]:
    sent = [each for each in post.args if isinstance(each, bytes)]
    return dict(zip(["image"] if len(sent) == 1 else ["image1", "image2"], sent, strict=False))


@pytest.mark.parametrize("post", POSTS, ids=lambda post: post.method)
def test_post_as_json(asked: Ask, post: Post) -> None:
    service = answers(post.answer)
    assert asked(service, post.method, *post.args, **post.options, form=False) == post.result
    [request], [sent] = service.requests, service.bodies
    assert (request.method, str(request.url)) == ("POST", f"http://service:3000{post.path}")
    assert (request.headers["content-type"], request.headers["x-api-key"]) == ("application/json", KEY)
    in_base64 = {name: base64.b64encode(content).decode() for name, content in images(post).items()}
    assert json.loads(sent) == post.fields | in_base64


@pytest.mark.parametrize("post", POSTS, ids=lambda post: post.method)
def test_post_as_a_form_where_there_is_one(asked: Ask, post: Post) -> None:
    service = answers(post.answer)
    assert asked(service, post.method, *post.args, **post.options) == post.result
    [request], [sent] = service.requests, service.bodies
    assert request.url.path == (post.form_path or post.path)
    assert request.headers["x-api-key"] == KEY
    if post.form_path:
        assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
        values = {name: str(value).encode() for name, value in post.fields.items()} | images(post)
        parts = sent.split(b"--" + request.headers["content-type"].partition("=")[2].encode())[1:-1]
        assert len(parts) == len(values)
        for part, (name, value) in zip(parts, values.items(), strict=True):
            head, _, content = part.partition(b"\r\n\r\n")
            assert f'; name="{name}"'.encode() in head
            assert (b'filename="image"' in head) == name.startswith("image")
            assert content == value + b"\r\n"


@pytest.mark.parametrize(
    ("method", "path", "answer", "result"),
    [
        ("health", "/v1/health", {"status": "ok", "ready": False}, Health("ok", ready=False)),
        ("model_names", "/v1/info/model", {"models": ["a", "b"]}, ("a", "b")),
    ],
)
def test_get(asked: Ask, method: str, path: str, answer: Any, result: Any) -> None:
    service = answers(answer)
    assert asked(service, method) == result
    [request] = service.requests
    assert (request.method, request.url.path) == ("GET", path)
    assert "x-api-key" not in request.headers


def test_server_info(asked: Ask) -> None:
    told = {"name": "facebento", "version": "1", "device": "cpu", "execution_provider": "CPU", "runners": {}, "new": 1}
    info = asked(answers(told), "server_info")
    assert (info.name, info.version, info.device, info.execution_provider) == ("facebento", "1", "cpu", "CPU")
    assert info.raw == told


def test_model_info(asked: Ask) -> None:
    service = answers(EMBEDDER_INFO)
    info = asked(service, "model_info", "a/b c?")
    assert service.requests[0].url.raw_path == b"/v1/info/model/a%2Fb%20c%3F"
    assert (info.role, info.dimensions, info.fingerprint, info.score_mapping) == (
        "embedder",
        2,
        EMBEDDER.hex(),
        MAPPING,
    )
    assert info.raw["thresholds"] == {"cosine": 0.3}
    detector = asked(answers(DETECTOR_INFO), "model_info", "a-detector")
    assert (detector.dimensions, detector.fingerprint, detector.score_mapping) == (None, None, None)


def test_the_mapping_is_the_embedders(asked: Ask) -> None:
    service = answers({"models": ["a-detector", "an-embedder"]}, DETECTOR_INFO, EMBEDDER_INFO)
    assert asked(service, "score_mapping") == MAPPING
    with pytest.raises(UnexpectedAnswerError, match="no embedder"):
        asked(answers({"models": ["a-detector"]}, DETECTOR_INFO), "score_mapping")


def test_the_mapping_is_asked_for_once() -> None:
    service = answers({"models": ["an-embedder"]}, EMBEDDER_INFO, {"models": ["an-embedder"]}, EMBEDDER_INFO)
    client = sync_client(service)
    assert client.score_mapping() == client.score_mapping() == MAPPING
    assert len(service.requests) == 2
    client.score_mapping(refresh=True)
    assert len(service.requests) == 4


@pytest.mark.parametrize(
    ("method", "answer", "empty"),
    [
        ("detect", {"seq": 0, "faces": []}, DetectResult(())),
        ("feature", {"version": "1", "feature": "", "face_detect": NOBODY}, FeatureResult(None, None, "1")),
        ("embeddings", {"version": "1", "embeddings": [], "face_detect": NOBODY}, EmbeddingsResult(None, None, "1")),
    ],
)
def test_no_face_is_a_result(asked: Ask, method: str, answer: Any, empty: Any) -> None:
    assert asked(answers(answer), method, IMAGE) == empty


def test_a_result_of_many_is_a_sequence() -> None:
    result = DetectResult((FOUND, FOUND))
    assert list(result) == [FOUND, FOUND]
    assert (len(result), result[0], result[-1:]) == (2, FOUND, (FOUND,))
    assert not DetectResult(())


@pytest.mark.parametrize("status", [200, 503])
def test_ready_is_whether_it_takes_requests(asked: Ask, status: int) -> None:
    service = answers(httpx.Response(status))
    assert asked(service, "ready") is (status == 200)
    assert service.requests[0].url.path == "/readyz"


def test_nobody_there_is_not_ready(asked: Ask) -> None:
    assert asked(answers(httpx.ConnectError("refused")), "ready") is False


def test_a_service_that_starts_is_waited_for(asked: Ask, naps: list[float]) -> None:
    asked(answers(httpx.ConnectError("refused"), httpx.Response(503), httpx.Response(200)), "wait_until_ready")
    assert len(naps) == 2


@pytest.mark.usefixtures("naps")
def test_a_service_that_hangs_is_waited_for_no_longer_than_told(asked: Ask) -> None:
    service = answers(httpx.ReadTimeout(""))
    with pytest.raises(NoAnswerInTimeError):
        asked(service, "wait_until_ready", timeout_s=7)
    waited = [request.extensions["timeout"]["read"] for request in service.requests]
    assert waited[0] == 5
    assert waited[-1] == 0.5


def test_both_clients_have_the_same_methods() -> None:
    def methods(kind: type) -> dict[str, inspect.Signature]:
        return {
            name: inspect.signature(each)
            for name, each in vars(kind).items()
            if inspect.isfunction(each) and not name.startswith("_") and name not in ("close", "aclose")
        }

    assert methods(Client) == methods(AsyncClient)
