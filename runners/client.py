"""How the service calls its runners."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aiohttp
from bentoml.exceptions import BentoMLException

from runners.errors import RunnerTimeoutError, RunnerUnavailableError

log = logging.getLogger("facebento.runners")

T = TypeVar("T")


async def call(method: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Await a runner's method, once more where its connection was dropped.

    A runner closes a connection after 5 idle seconds and the caller's pool keeps it for 15: one taken up in between
    fails, and nothing is wrong.

    Raises RunnerUnavailableError, RunnerTimeoutError.
    """
    try:
        try:
            return await method(*args)
        except aiohttp.ServerTimeoutError:
            raise
        except aiohttp.ClientConnectionError:
            return await method(*args)
    except TimeoutError as error:
        raise RunnerTimeoutError("A model did not answer in time. Try again later.") from error
    except (aiohttp.ClientError, BentoMLException) as error:
        log.warning("a runner failed: %s: %s", type(error).__name__, error)
        raise RunnerUnavailableError("A model is starting, stopping or down. Try again in a second.") from error
