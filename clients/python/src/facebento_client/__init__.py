"""Client of facebento: face detection, features and 1:1 comparison.

from facebento_client import Client

with Client("http://127.0.0.1:3000", api_key="fb_...") as client:
    client.detect("photo.jpg").draw("photo.jpg").save("found.png")
"""

from facebento_client.async_client import AsyncClient
from facebento_client.client import Client
from facebento_client.errors import (
    ApiError,
    AuthenticationError,
    DeadlineError,
    FacebentoError,
    FeatureError,
    FeatureInvalidError,
    FeatureMismatchError,
    InvalidRequestError,
    NoAnswerError,
    NoAnswerInTimeError,
    NotFoundError,
    OverloadedError,
    Problem,
    TooLargeError,
    UnavailableError,
    UnexpectedAnswerError,
)
from facebento_client.features import Feature, ScoreMapping
from facebento_client.images import ImageSource
from facebento_client.results import (
    Box,
    DetectResult,
    DetectSortType,
    EmbeddingsResult,
    Face,
    FaceEmbedding,
    FaceFeature,
    FeatureResult,
    Health,
    Landmarks,
    ModelInfo,
    MultiEmbeddingsResult,
    MultiFeatureResult,
    Point,
    ScoreResult,
    ServerInfo,
)
from facebento_client.retries import Retry
from facebento_client.version import __version__

__all__ = [
    "ApiError",
    "AsyncClient",
    "AuthenticationError",
    "Box",
    "Client",
    "DeadlineError",
    "DetectResult",
    "DetectSortType",
    "EmbeddingsResult",
    "Face",
    "FaceEmbedding",
    "FaceFeature",
    "FacebentoError",
    "Feature",
    "FeatureError",
    "FeatureInvalidError",
    "FeatureMismatchError",
    "FeatureResult",
    "Health",
    "ImageSource",
    "InvalidRequestError",
    "Landmarks",
    "ModelInfo",
    "MultiEmbeddingsResult",
    "MultiFeatureResult",
    "NoAnswerError",
    "NoAnswerInTimeError",
    "NotFoundError",
    "OverloadedError",
    "Point",
    "Problem",
    "Retry",
    "ScoreMapping",
    "ScoreResult",
    "ServerInfo",
    "TooLargeError",
    "UnavailableError",
    "UnexpectedAnswerError",
    "__version__",
]
