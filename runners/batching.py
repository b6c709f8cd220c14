"""BentoML's adaptive batching, without its wait, and without the work that nobody waits for."""

import asyncio
import contextvars
import itertools
import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import bentoml
import numpy as np
from _bentoml_sdk import Service
from bentoml._internal.marshal.dispatcher import CorkDispatcher, Job, NonBlockSema

from runners import metrics
from runners.app import AppFactory, KnownPaths
from runners.calls import Calls
from runners.direct import Answers, Direct, Method, Rows
from runners.tracing import Call, Traced, batch, current, ran

log = logging.getLogger("facebento.runners")

# While one runs, the rows of the next are put together: the device finds it ready. A third would only wait, with rows
# that could have been joined by more.
BATCHES_AT_ONCE = 2


class Places(NonBlockSema):
    """For batches that run at a time. BentoML's own can't be waited for: it is looked at every millisecond."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self._free = asyncio.Semaphore(count)

    async def take(self) -> None:
        await self._free.acquire()

    def release(self) -> None:
        self._free.release()


class QueuedJob(Job[Any, Any]):
    """Rows that wait for a batch, and the call whose they are, where it is traced."""

    call: Call | None = None


class PromptDispatcher(CorkDispatcher[Any, Any]):
    """Lets a batch go as soon as there is a place for it, with whatever has come by then, as far as it is waited for.

    BentoML's own holds a batch back for about as long as the last fifty had to wait. After a burst that had queued for
    ten seconds, a lone request is held back for seconds, to no purpose: 0.3 requests a second were seen where 10 are
    possible. Under load batches form all the same, while those before them run. It also computes what was cancelled:
    such a call leaves its job in the queue.
    """

    def __init__(self, like: CorkDispatcher[Any, Any], runner: str) -> None:
        """like: BentoML's own, whose settings it takes over. runner: its name, for the metrics."""

        def fallback() -> Any:
            # BentoML's own takes a cancelled call for one that the queue has dropped, and goes on to answer it.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise asyncio.CancelledError
            return like.fallback()

        self._places = Places(BATCHES_AT_ONCE)
        self._runner = runner
        super().__init__(
            int(like.max_latency * 1000),
            like.max_batch_size,
            shared_sema=self._places,
            fallback=fallback,
            get_batch_size=like.get_batch_size,
            batch_dim=like.batch_dim,
        )

    async def controller(self) -> None:
        while True:
            await self._places.take()
            jobs: Sequence[Job[Any, Any]] = ()
            while not jobs:
                async with self._wake_event:
                    await self._wake_event.wait_for(self._queue.__len__)
                try:
                    jobs = self._get_inputs()
                except Exception:
                    log.exception("no batch could be made")
            self._loop.create_task(self.outbound_call(tuple(jobs), training=True), context=_context(jobs))

    async def inbound_call(self, data: Any) -> Any:
        job = QueuedJob(time.time(), data, self._loop.create_future())
        job.call = current.get()
        if job.call is not None:
            job.call.queued = time.perf_counter()
        self._queue.append(job)
        metrics.queue().waits(self._runner, len(self._queue))
        async with self._wake_event:
            self._wake_event.notify_all()
        return await job.future

    def _get_inputs(self, num_batches: int | None = None) -> Sequence[Job[Any, Any]]:
        jobs = self._taken(num_batches)
        now = time.time()
        for job in jobs:
            metrics.queue().waited(self._runner, max(0.0, now - job.enqueue_time))
        metrics.queue().waits(self._runner, len(self._queue))
        return jobs

    def _taken(self, num_batches: int | None) -> Sequence[Job[Any, Any]]:
        waited_for = [job for job in self._queue if not job.future.done()]
        self._queue.clear()
        self._queue.extend(waited_for)
        try:
            return tuple(super()._get_inputs(num_batches))
        except Exception as error:
            # What was taken out of the queue by then is in no batch, and its callers would wait for nothing.
            left = {id(job) for job in self._queue}
            for job in waited_for:
                if id(job) not in left and not job.future.done():
                    job.future.set_result(error)  # the way in which the dispatcher tells of one
            raise

    def split_job(self, job: Job[Any, Any], split_indexes: list[int]) -> tuple[Job[Any, Any], Job[Any, Any]]:
        first, second = super().split_job(job, split_indexes)
        if isinstance(job, QueuedJob) and isinstance(first, QueuedJob) and isinstance(second, QueuedJob):
            first.call = second.call = job.call
        # The half that is left in the queue ends with the whole.
        job.future.add_done_callback(lambda _: second.future.cancel())
        return first, second


def _context(jobs: Sequence[Job[Any, Any]]) -> contextvars.Context:
    """For the run of a batch: with the calls that are in it, each once."""
    context = contextvars.copy_context()
    calls = dict.fromkeys(job.call for job in jobs if isinstance(job, QueuedJob) and job.call is not None)
    context.run(batch.set, tuple(calls))
    return context


class RunnerAppFactory(AppFactory):
    """With calls bounded, dropped where nobody waits for them, and on their short way to the dispatcher."""

    def shorten(self) -> None:
        """Put the bound on calls and their short way inside BentoML's metrics and timeout. Before the app is made."""
        methods = {
            method.route: Method(method.input_spec.row, partial(self._infer, name))
            for name, method in self.service.apis.items()
            if method.batchable
        }
        if spans := getattr(self.service.inner, "spans", None):
            names = {method.route: f"{self.service.name}/{name}" for name, method in self.service.apis.items()}
            self.service.add_asgi_middleware(Traced, names={route: names[route] for route in methods}, spans=spans)
        self.service.add_asgi_middleware(Calls, routes=methods.keys())
        self.service.add_asgi_middleware(Direct, methods=methods)

    async def _infer(self, name: str, rows: Rows) -> Answers:
        answers: Answers = await self.dispatchers[name](partial(self._batch, name))(rows)
        return answers

    async def _batch(self, name: str, calls: Sequence[Rows]) -> Sequence[Answers]:
        """As BentoML's `batch_infer` does it, which looks up the method anew for each call, and copies the only one."""
        if self.enable_metrics:
            self._sizes(name).observe(len(calls))
        method = getattr(self._service_instance, name).local
        ends = list(itertools.accumulate(map(len, calls)))
        traced = batch.get()
        sizes = len(calls), ends[-1]
        with ran(traced, sizes, self._service_instance.facts) if traced else nullcontext():
            answers: Answers = await method(calls[0] if len(calls) == 1 else np.concatenate(calls))
        return np.split(answers, ends[:-1])

    def _sizes(self, name: str) -> Any:
        """Of batches in calls: BentoML's histogram."""
        context = bentoml.server_context
        return self.adaptive_batch_size_hist.labels(
            runner_name=self.service.name,
            worker_index=context.worker_index,
            method_name=name,
            service_version=context.bento_version,
            service_name=context.bento_name,
        )


class PromptService(Service[Any]):
    """A BentoML service of such batches, and of bounded calls. For `service_class` of @bentoml.service."""

    def to_asgi(self, is_main: bool = True) -> Any:
        self.inject_config()
        factory = RunnerAppFactory(self, is_main=is_main)
        for name, dispatcher in factory.dispatchers.items():
            factory.dispatchers[name] = PromptDispatcher(dispatcher, self.name)
        factory.shorten()
        served = factory()
        return KnownPaths(served, {getattr(route, "path", "") for route in served.routes})
