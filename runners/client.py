"""A runner as the service sees it: calls, and whether it is there at all."""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from http import HTTPStatus
from typing import Any

import aiohttp
from bentoml.exceptions import BentoMLException

from runners import metrics
from runners.errors import RunnerError, RunnerTimeoutError, RunnerUnavailableError
from runners.remote import RemoteRunner

log = logging.getLogger("facebento.runners")

PROBE_PAUSE_S = 0.5
MISSES = 2  # probes in a row without an answer until the runner counts as gone: within 4 seconds
RETRIES_S = (0.01, 0.05, 0.2)  # the pauses before each further try over a dropped connection
STARTING_S = 300  # from its own start until a runner that never came is given up: a GPU takes its time to warm up
BUILDING_S = 3600  # the same where TensorRT first builds its engines, one for each size of a batch
GIVEN_UP_S = 60  # without an answer until only a restart of everything can help: a new runner is there in 10 to 20


class RunnerClient:
    """One runner, wherever BentoML placed it: in a process of its own, or in this one."""

    def __init__(self, name: str, model: str, proxy: Callable[[], Any], starting_s: float = STARTING_S) -> None:
        """model: the tag of the model that it must run; with another one it counts as gone.

        proxy: gives BentoML's stand-in for the runner; not called before the first call, since it connects later.
        starting_s: until one that never came is given up.
        """
        self._name = name
        self._model = model
        self._proxy = proxy
        self._starting_s = starting_s
        self._misses = MISSES
        self._remote: RemoteRunner | None = None  # where it does not live in this process
        self._placement: dict[str, str] | None = None
        self._local = True
        self._given_up_at = math.inf
        self._reason = ""
        self._waiting: set[asyncio.Timeout] = set()  # of the calls in work
        self._failures: set[type[Exception]] = set()  # of `watch`: the kinds that the log has

    @property
    def present(self) -> bool:
        """Whether it has answered `watch`, and has not fallen silent since."""
        return self._misses < MISSES

    @property
    def given_up(self) -> bool:
        """Whether it has been gone for a minute, or has not come in time: neither it nor the one in its place will
        come by itself. Never of a runner on another host, which a restart here can't help.
        """
        return self._local and not self.present and time.monotonic() > self._given_up_at

    @property
    def placement(self) -> dict[str, str]:
        """Where its model runs, as it told when it was last asked. Raises RunnerUnavailableError."""
        if self._placement is None or not self.present:
            raise self._gone()
        return self._placement

    async def call(self, method: str, *args: Any) -> Any:
        """Await a method of the runner, again where its connection was dropped.

        A runner closes a connection after 5 idle seconds, of which this end uses it for 4, and all when it is replaced:
        one taken up at that moment fails, and nothing is wrong. There may be many of them. In the pause this process
        reads that they are closed, and drops the others too.

        Raises RunnerTimeoutError, and RunnerUnavailableError: at once where the runner is known to be gone, as soon as
        that is known of one that goes meanwhile, and where it has as much to do as it takes.
        """
        if not self.present:
            raise self._gone()
        with nullcontext() if self._remote is None else metrics.calls().of(self._name):
            return await self._answered(method, args)

    async def _answered(self, method: str, args: tuple[Any, ...]) -> Any:
        try:
            async with asyncio.timeout(None) as waiting:
                self._waiting.add(waiting)
                try:
                    return await self._tried(method, args)
                finally:
                    self._waiting.discard(waiting)
        except TimeoutError as error:
            if waiting.expired():
                raise self._gone() from None
            raise RunnerTimeoutError("A model did not answer in time. Try again later.") from error
        except RunnerError:
            raise
        except Exception as error:
            status = error.error_code if isinstance(error, BentoMLException) else None
            if status == HTTPStatus.GATEWAY_TIMEOUT:
                raise RunnerTimeoutError("A model did not answer in time. Try again later.") from error
            if status == HTTPStatus.TOO_MANY_REQUESTS:
                raise RunnerUnavailableError(
                    "A model has as many calls waiting as it holds. Try again in a second, with growing pauses."
                ) from error
            # Of a runner in another process aiohttp and BentoML tell, of one in this process whatever it raised.
            log.warning("the %s failed: %s: %s", self._name, type(error).__name__, error)
            raise self._gone() from error

    async def _tried(self, method: str, args: tuple[Any, ...]) -> Any:
        for pause in RETRIES_S:
            try:
                return await self._call(method, args)
            except aiohttp.ServerTimeoutError:
                raise
            except aiohttp.ClientConnectionError:
                metrics.calls().retried(self._name)
                await asyncio.sleep(pause)
        return await self._call(method, args)

    async def watch(self, url: str | None) -> None:
        """Ask the runner again and again where its model runs, until cancelled.

        url: BentoML's of the runner, file:// for a Unix socket; None where it lives in this process. On connections of
        its own: those of the calls may all be taken by work, and a busy runner is not a dead one. A dead one is told
        only by its silence, since BentoML keeps its socket open for the process that will replace it.
        """
        if url is None:
            self._placement = await self._call("placement", ())
            self._misses = 0
            return
        self._given_up_at = time.monotonic() + self._starting_s
        # By which BentoCloud's balancer tells the runners apart: all have one address there.
        headers = {"Runner-Name": self._name} if url.startswith("file:") else self._proxy().to_async.default_headers
        async with RemoteRunner(url, self._model.partition(":")[2], headers) as remote:
            metrics.calls().begin(self._name)
            self._local = remote.local
            self._remote = remote
            try:
                while True:
                    await self._round(remote)
                    await asyncio.sleep(PROBE_PAUSE_S)
            finally:
                # Nobody asks any more, and the connections are closed.
                self._misses = MISSES

    async def _round(self, remote: RemoteRunner) -> None:
        try:
            await self._probe(remote)
            remote.tidy()
        except Exception as error:  # noqa: BLE001
            # One that ended would leave the service ready, with no way to its runner.
            self._tell(error)

    def _tell(self, error: Exception) -> None:
        if type(error) not in self._failures:
            self._failures.add(type(error))
            log.error("the %s could not be watched, and is watched further", self._name, exc_info=error)

    async def _probe(self, remote: RemoteRunner) -> None:
        was_present = self.present
        reason = ""
        try:
            placement = await remote.placement()
            model = placement.get("model")
            if model == self._model:
                self._placement = placement
                self._misses = 0
                self._given_up_at = time.monotonic() + GIVEN_UP_S
            else:
                self._misses += 1
                reason = f" for {self._model}: it runs {model}"
        except (aiohttp.ClientError, TimeoutError, ValueError, AttributeError):  # the last two: no JSON object
            self._misses += 1
        except Exception as error:  # noqa: BLE001  whatever it is, there was no answer
            self._misses += 1
            self._tell(error)
        if self.present and not was_present:
            log.info("the %s answers", self._name)
            remote.share()
        elif not self.present and (was_present or reason != self._reason):
            log.warning("the %s does not answer%s", self._name, reason)
        if was_present and not self.present:
            # What it had in work is lost with it. What waits in its socket would wait for the one in its place, which
            # may be long in coming.
            for waiting in self._waiting:
                waiting.reschedule(asyncio.get_running_loop().time())
        self._reason = reason

    async def _call(self, method: str, args: tuple[Any, ...]) -> Any:
        if self._remote is not None:
            return await self._remote.call(method, *args)
        return await getattr(self._proxy().to_async, method)(*args)

    def _gone(self) -> RunnerUnavailableError:
        return RunnerUnavailableError("A model is starting, stopping or down. Try again in a second.")
