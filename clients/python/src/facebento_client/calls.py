"""Every endpoint once, without any I/O: what is sent, and how the answer is read. Both clients send these."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx

from facebento_client import errors, images, results
from facebento_client.features import Feature
from facebento_client.images import ImageSource

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """What httpx needs to make one, as often as it takes: nothing in it is used up by being sent."""

    method: str
    path: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    path: str  # the one that takes JSON
    read: Callable[[Any], T]  # the answer's JSON -> the result; raises what Python does where it is another
    images: Mapping[str, ImageSource] = field(default_factory=dict, repr=False)
    fields: Mapping[str, int | str] = field(default_factory=dict, repr=False)
    form_path: str | None = None  # the same as a form with files, where there is one

    def request(self, *, form: bool) -> Request:
        """form: as a form where the endpoint has one. Reads files and encodes: it may take a while.

        Raises TypeError, ValueError, OSError.
        """
        if not (self.images or self.fields):
            return Request("GET", self.path)
        data = {name: images.read(source) for name, source in self.images.items()}
        if form and self.form_path:
            # No file's own name: it may be a person's.
            files = {name: ("image", content, "application/octet-stream") for name, content in data.items()}
            return Request("POST", self.form_path, {"data": self.fields, "files": files})
        body = {**self.fields, **{name: base64.b64encode(content).decode() for name, content in data.items()}}
        headers = {"content-type": "application/json"}
        return Request("POST", self.path, {"content": json.dumps(body).encode(), "headers": headers})

    def result(self, response: httpx.Response) -> T:
        """Of a response with status 200. Raises UnexpectedAnswerError."""
        try:
            return self.read(response.json())
        except errors.FeatureError:
            raise  # of a newer format, perhaps: it says so itself
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
            raise errors.unexpected(response) from None


def detect(image: ImageSource, max_results: int, detect_sort_type: int, seq: int) -> Call[results.DetectResult]:
    fields = {"maxResults": max_results, "detectSortType": int(detect_sort_type), "seq": seq}
    return Call("/v1/detect", results.DetectResult.of, {"image": image}, fields, "/v1/file/detect")


def feature(image: ImageSource) -> Call[results.FeatureResult]:
    return Call("/v1/feature", results.FeatureResult.of, {"image": image}, form_path="/v1/file/feature")


def feature_only(image: ImageSource) -> Call[results.FeatureResult]:
    return Call("/v1/feature-only", results.FeatureResult.of, {"image": image}, form_path="/v1/file/feature-only")


def multi_feature(image: ImageSource, max_results: int) -> Call[results.MultiFeatureResult]:
    return Call("/v1/multi-feature", results.MultiFeatureResult.of, {"image": image}, {"maxResults": max_results})


def embeddings(image: ImageSource) -> Call[results.EmbeddingsResult]:
    return Call("/v1/embeddings", results.EmbeddingsResult.of, {"image": image}, form_path="/v1/file/embeddings")


def embeddings_only(image: ImageSource) -> Call[results.EmbeddingsResult]:
    path, form_path = "/v1/embeddings-only", "/v1/file/embeddings-only"
    return Call(path, results.EmbeddingsResult.of, {"image": image}, form_path=form_path)


def multi_embeddings(image: ImageSource, max_results: int) -> Call[results.MultiEmbeddingsResult]:
    path = "/v1/multi-embeddings"
    return Call(path, results.MultiEmbeddingsResult.of, {"image": image}, {"maxResults": max_results})


def score(image1: ImageSource, image2: ImageSource) -> Call[results.ScoreResult]:
    pair = {"image1": image1, "image2": image2}
    return Call("/v1/score", results.ScoreResult.of, pair, form_path="/v1/file/score")


def feature_score(feature1: Feature | str, feature2: Feature | str) -> Call[float]:
    fields = {"feature1": _base64(feature1), "feature2": _base64(feature2)}
    return Call("/v1/feature-score", lambda told: float(told["score"]), fields=fields)


def health() -> Call[results.Health]:
    return Call("/v1/health", results.Health.of)


def server_info() -> Call[results.ServerInfo]:
    return Call("/v1/info/server", results.ServerInfo.of)


def model_names() -> Call[tuple[str, ...]]:
    return Call("/v1/info/model", lambda told: tuple(told["models"]))


def model_info(name: str) -> Call[results.ModelInfo]:
    return Call(f"/v1/info/model/{quote(name, safe='')}", results.ModelInfo.of)


def _base64(feature: Feature | str) -> str:
    return feature.to_base64() if isinstance(feature, Feature) else feature
