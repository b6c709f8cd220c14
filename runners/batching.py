"""BentoML's adaptive batching, without its wait, and without the work that nobody waits for."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from _bentoml_sdk import Service
from bentoml._internal.marshal.dispatcher import CorkDispatcher, Job, NonBlockSema, Optimizer

from runners.app import AppFactory
from runners.calls import Calls
from runners.cuda import IN_FLIGHT


class PromptOptimizer(Optimizer):
    """Lets a batch go as soon as the one before it is done, with whatever has come by then.

    BentoML's own holds a batch back for about as long as the last fifty had to wait. After a burst that had queued for
    ten seconds, a lone request is held back for seconds, to no purpose: 0.3 requests a second were seen where 10 are
    possible. Under load batches form all the same, while the one before them runs.
    """

    def log_outbound(self, n: int, wait: float, duration: float) -> None:  # noqa: ARG002  BentoML's signature
        super().log_outbound(n, 0.0, duration)


class PromptDispatcher(CorkDispatcher[Any, Any]):
    """Puts nothing into a batch that nobody waits for any more.

    A call that is cancelled leaves its job in BentoML's queue, which computes it all the same.
    """

    def __init__(self, like: CorkDispatcher[Any, Any], in_flight: int = 1) -> None:
        """like: BentoML's own, whose settings it takes over. in_flight: batches that run at a time."""

        def fallback() -> Any:
            # BentoML's own takes a cancelled call for one that the queue has dropped, and goes on to answer it.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise asyncio.CancelledError
            return like.fallback()

        super().__init__(
            int(like.max_latency * 1000),
            like.max_batch_size,
            shared_sema=NonBlockSema(in_flight),
            fallback=fallback,
            get_batch_size=like.get_batch_size,
            batch_dim=like.batch_dim,
        )
        self.optimizer = PromptOptimizer(self.max_latency)

    def _get_inputs(self, num_batches: int | None = None) -> Iterable[Job[Any, Any]]:
        waited_for = [job for job in self._queue if not job.future.done()]
        self._queue.clear()
        self._queue.extend(waited_for)
        return super()._get_inputs(num_batches)

    def split_job(self, job: Job[Any, Any], split_indexes: list[int]) -> tuple[Job[Any, Any], Job[Any, Any]]:
        first, second = super().split_job(job, split_indexes)
        # The half that is left in the queue ends with the whole.
        job.future.add_done_callback(lambda _: second.future.cancel())
        return first, second

    async def outbound_call(self, inputs_info: Sequence[Job[Any, Any]], training: bool = False) -> None:
        if inputs_info:
            await super().outbound_call(tuple(inputs_info), training)
        else:
            self._sema.release()  # type: ignore[no-untyped-call]


class PromptService(Service[Any]):
    """A BentoML service of such batches, and of bounded calls. For `service_class` of @bentoml.service."""

    in_flight: ClassVar = 1  # batches

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.add_asgi_middleware(Calls, routes={each.route for each in self.apis.values() if each.batchable})

    def to_asgi(self, is_main: bool = True) -> Any:
        self.inject_config()
        factory = AppFactory(self, is_main=is_main)
        for name, dispatcher in factory.dispatchers.items():
            factory.dispatchers[name] = PromptDispatcher(dispatcher, self.in_flight)
        return factory()


class OverlappingService(PromptService):
    """One that hands over a batch while the one before it runs: of a GPU, which would wait for it otherwise."""

    in_flight: ClassVar = IN_FLIGHT
