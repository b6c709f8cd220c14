"""The client for asyncio; client.py has the one for ordinary code, and tells what each method does."""

import asyncio
from types import TracebackType
from typing import Self, TypeVar

import httpx

from facebento_client import calls, results
from facebento_client.concurrency import map_bounded
from facebento_client.connection import ANSWER_S, LIMITS, Connection, outcome
from facebento_client.errors import FacebentoError, of_transport
from facebento_client.features import Feature, ScoreMapping
from facebento_client.images import ImageSource
from facebento_client.readiness import READY, Waiting, embedders_mapping, is_ready
from facebento_client.results import DetectSortType
from facebento_client.retries import Retry

T = TypeVar("T")


class AsyncClient:
    """As Client, each method awaited; of one event loop.

    async with AsyncClient("http://127.0.0.1:3000", api_key="fb_...") as client:
        found = await client.detect("photo.jpg")
    """

    map = staticmethod(map_bounded)

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:3000",
        *,
        api_key: str | None = None,
        timeout: float | httpx.Timeout = ANSWER_S,
        retry: Retry | int = Retry(),  # noqa: B008  frozen
        form: bool = True,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        """As Client's. http: an httpx.AsyncClient of your own; it is not closed with this one."""
        self._connection = Connection(base_url, api_key, timeout, retry, form=form)
        self._http = http or httpx.AsyncClient(limits=LIMITS)
        self._own = http is None
        self._mapping: ScoreMapping | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._connection!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        if self._own:
            await self._http.aclose()

    async def detect(
        self,
        image: ImageSource,
        *,
        max_results: int = 750,
        detect_sort_type: DetectSortType | int = DetectSortType.CONFIDENCE,
        seq: int = 0,
    ) -> results.DetectResult:
        """All faces of an image, the best `max_results` by the order asked for."""
        return await self._call(calls.detect(image, max_results, detect_sort_type, seq))

    async def feature(self, image: ImageSource) -> results.FeatureResult:
        """The feature of the largest face."""
        return await self._call(calls.feature(image))

    async def feature_only(self, image: ImageSource) -> results.FeatureResult:
        """The feature of an aligned crop of 112 x 112 pixels; no face is looked for."""
        return await self._call(calls.feature_only(image))

    async def multi_feature(self, image: ImageSource, *, max_results: int = 128) -> results.MultiFeatureResult:
        """The features of all faces."""
        return await self._call(calls.multi_feature(image, max_results))

    async def embeddings(self, image: ImageSource) -> results.EmbeddingsResult:
        """The embedding of the largest face."""
        return await self._call(calls.embeddings(image))

    async def embeddings_only(self, image: ImageSource) -> results.EmbeddingsResult:
        """The embedding of an aligned crop of 112 x 112 pixels; no face is looked for."""
        return await self._call(calls.embeddings_only(image))

    async def multi_embeddings(self, image: ImageSource, *, max_results: int = 128) -> results.MultiEmbeddingsResult:
        """The embeddings of all faces."""
        return await self._call(calls.multi_embeddings(image, max_results))

    async def score(self, image1: ImageSource, image2: ImageSource) -> results.ScoreResult:
        """How alike the largest faces of two images are."""
        return await self._call(calls.score(image1, image2))

    async def feature_score(self, feature1: Feature | str, feature2: Feature | str) -> float:
        """How alike two features are: 0 to 1. `Feature.compare` tells the same without a request."""
        return await self._call(calls.feature_score(feature1, feature2))

    async def health(self) -> results.Health:
        """Whether the service lives."""
        return await self._call(calls.health())

    async def server_info(self) -> results.ServerInfo:
        """Versions, device and execution provider of the service."""
        return await self._call(calls.server_info())

    async def model_names(self) -> tuple[str, ...]:
        """The detector and the embedder that are served."""
        return await self._call(calls.model_names())

    async def model_info(self, name: str) -> results.ModelInfo:
        """All that is known of a model that is served. Raises NotFoundError."""
        return await self._call(calls.model_info(name))

    async def score_mapping(self, *, refresh: bool = False) -> ScoreMapping:
        """How the served embedder tells scores, for `Feature.compare` and `Gallery`.

        Asked for once and kept; refresh asks again, as after a calibration or a change of the model.
        """
        if self._mapping is None or refresh:
            self._mapping = embedders_mapping([await self.model_info(name) for name in await self.model_names()])
        return self._mapping

    async def ready(self) -> bool:
        """Whether the service takes requests now: /readyz, asked once. False where nobody answers."""
        return await self._ready(None)

    async def wait_until_ready(self, timeout_s: float = 120.0) -> None:
        """Return as soon as the service takes requests. Raises NoAnswerInTimeError."""
        waiting = Waiting(timeout_s)
        while not await self._ready(waiting.answer_s):  # noqa: ASYNC110  what changes is on another machine
            await asyncio.sleep(waiting.pause_s())

    async def _ready(self, timeout_s: float | None) -> bool:
        request = self._connection.build(self._http, READY, timeout_s)
        try:
            return is_ready(await self._http.send(request, follow_redirects=False))
        except httpx.RequestError:
            return False

    async def _call(self, call: calls.Call[T]) -> T:
        # Files are read and pictures encoded where they don't hold up the others.
        asked = await asyncio.to_thread(call.request, form=self._connection.form)
        attempts = self._connection.attempts()
        while True:
            request = self._connection.build(self._http, asked)
            try:
                # The key goes to no other address than the one it was given for.
                return outcome(call, await self._http.send(request, follow_redirects=False))
            except httpx.RequestError as error:
                failed: FacebentoError = of_transport(error, request)
            except FacebentoError as error:
                failed = error
            pause_s = attempts.pause_s(failed)
            if pause_s is None:
                raise failed
            await asyncio.sleep(pause_s)
