"""The client for ordinary code; async_client.py has the one for asyncio."""

import time
from types import TracebackType
from typing import Self, TypeVar

import httpx

from facebento_client import calls, results
from facebento_client.connection import ANSWER_S, LIMITS, Connection, outcome
from facebento_client.errors import FacebentoError, of_transport
from facebento_client.features import Feature, ScoreMapping
from facebento_client.images import ImageSource
from facebento_client.readiness import READY, Waiting, embedders_mapping, is_ready
from facebento_client.results import DetectSortType
from facebento_client.retries import Retry

T = TypeVar("T")


class Client:
    """A facebento service. Keeps its connections open; to be used from several threads, and closed at the end.

        with Client("http://127.0.0.1:3000", api_key="fb_...") as client:
            for face in client.detect("photo.jpg"):
                print(face.box, face.confidence)

    Every method raises FacebentoError's subclasses (errors.py has the tree), and for an image that can't be read
    TypeError, ValueError or OSError before anything is sent.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:3000",
        *,
        api_key: str | None = None,
        timeout: float | httpx.Timeout = ANSWER_S,
        retry: Retry | int = Retry(),  # noqa: B008  frozen
        form: bool = True,
        http: httpx.Client | None = None,
    ) -> None:
        """api_key: FACEBENTO_API_KEY of the environment unless it is given; sent with POSTs only, and never shown.

        timeout: seconds for each attempt. retry: how often to try again, or a Retry. form: send images as forms with
        files; False sends them as base64 in JSON, a third more bytes, to the endpoints that take it. http: an
        httpx.Client of your own, for proxies, certificates and the like; it is not closed with this one.

        Raises ValueError.
        """
        self._connection = Connection(base_url, api_key, timeout, retry, form=form)
        self._http = http or httpx.Client(limits=LIMITS)
        self._own = http is None
        self._mapping: ScoreMapping | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._connection!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._own:
            self._http.close()

    def detect(
        self,
        image: ImageSource,
        *,
        max_results: int = 750,
        detect_sort_type: DetectSortType | int = DetectSortType.CONFIDENCE,
        seq: int = 0,
    ) -> results.DetectResult:
        """All faces of an image, the best `max_results` by the order asked for."""
        return self._call(calls.detect(image, max_results, detect_sort_type, seq))

    def feature(self, image: ImageSource) -> results.FeatureResult:
        """The feature of the largest face."""
        return self._call(calls.feature(image))

    def feature_only(self, image: ImageSource) -> results.FeatureResult:
        """The feature of an aligned crop of 112 x 112 pixels; no face is looked for."""
        return self._call(calls.feature_only(image))

    def multi_feature(self, image: ImageSource, *, max_results: int = 128) -> results.MultiFeatureResult:
        """The features of all faces."""
        return self._call(calls.multi_feature(image, max_results))

    def embeddings(self, image: ImageSource) -> results.EmbeddingsResult:
        """The embedding of the largest face."""
        return self._call(calls.embeddings(image))

    def embeddings_only(self, image: ImageSource) -> results.EmbeddingsResult:
        """The embedding of an aligned crop of 112 x 112 pixels; no face is looked for."""
        return self._call(calls.embeddings_only(image))

    def multi_embeddings(self, image: ImageSource, *, max_results: int = 128) -> results.MultiEmbeddingsResult:
        """The embeddings of all faces."""
        return self._call(calls.multi_embeddings(image, max_results))

    def score(self, image1: ImageSource, image2: ImageSource) -> results.ScoreResult:
        """How alike the largest faces of two images are."""
        return self._call(calls.score(image1, image2))

    def feature_score(self, feature1: Feature | str, feature2: Feature | str) -> float:
        """How alike two features are: 0 to 1. `Feature.compare` tells the same without a request."""
        return self._call(calls.feature_score(feature1, feature2))

    def health(self) -> results.Health:
        """Whether the service lives."""
        return self._call(calls.health())

    def server_info(self) -> results.ServerInfo:
        """Versions, device and execution provider of the service."""
        return self._call(calls.server_info())

    def model_names(self) -> tuple[str, ...]:
        """The detector and the embedder that are served."""
        return self._call(calls.model_names())

    def model_info(self, name: str) -> results.ModelInfo:
        """All that is known of a model that is served. Raises NotFoundError."""
        return self._call(calls.model_info(name))

    def score_mapping(self, *, refresh: bool = False) -> ScoreMapping:
        """How the served embedder tells scores, for `Feature.compare` and `Gallery`.

        Asked for once and kept; refresh asks again, as after a calibration or a change of the model.
        """
        if self._mapping is None or refresh:
            self._mapping = embedders_mapping(map(self.model_info, self.model_names()))
        return self._mapping

    def ready(self) -> bool:
        """Whether the service takes requests now: /readyz, asked once. False where nobody answers."""
        return self._ready(None)

    def wait_until_ready(self, timeout_s: float = 120.0) -> None:
        """Return as soon as the service takes requests. Raises NoAnswerInTimeError."""
        waiting = Waiting(timeout_s)
        while not self._ready(waiting.answer_s):
            time.sleep(waiting.pause_s())

    def _ready(self, timeout_s: float | None) -> bool:
        request = self._connection.build(self._http, READY, timeout_s)
        try:
            return is_ready(self._http.send(request, follow_redirects=False))
        except httpx.RequestError:
            return False

    def _call(self, call: calls.Call[T]) -> T:
        asked = call.request(form=self._connection.form)
        attempts = self._connection.attempts()
        while True:
            request = self._connection.build(self._http, asked)
            try:
                # The key goes to no other address than the one it was given for.
                return outcome(call, self._http.send(request, follow_redirects=False))
            except httpx.RequestError as error:
                failed: FacebentoError = of_transport(error, request)
            except FacebentoError as error:
                failed = error
            pause_s = attempts.pause_s(failed)
            if pause_s is None:
                raise failed
            time.sleep(pause_s)
