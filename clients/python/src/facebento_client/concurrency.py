"""Many calls of the asynchronous client at a time, and not too many."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from itertools import islice
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


async def map_bounded(
    method: Callable[[S], Awaitable[T]], items: Iterable[S], *, concurrency: int = 16
) -> AsyncGenerator[tuple[S, T | Exception], None]:
    """Each item with what the method answers for it, or the exception that it raises, as they come.

        async for path, found in client.map(client.embeddings, paths):
            if isinstance(found, Exception): ...

    At most `concurrency` calls are under way, and no more items taken from the iterable than that: it may be endless.
    Leaving the loop cancels those under way.
    """
    if concurrency < 1:
        raise ValueError("at least one call must be under way at a time")
    source = iter(items)
    under_way: dict[asyncio.Task[T], S] = {}
    try:
        while True:
            for item in islice(source, concurrency - len(under_way)):
                under_way[asyncio.create_task(_called(method, item))] = item
            if not under_way:
                return
            done, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                item = under_way.pop(task)
                error = task.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
                yield item, error if error is not None else task.result()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _called(method: Callable[[S], Awaitable[T]], item: S) -> T:
    return await method(item)
