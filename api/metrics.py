"""What Prometheus is told of requests, besides BentoML's own metrics."""

from collections.abc import Mapping, Sequence
from functools import cached_property

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

import stages
from api.admission import OUTCOMES
from api.gate import CLIENT_GONE

NOBODY = "-"  # stands for the key of a request without one
# Seconds. The deadline is put behind those that are below it.
DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800)
STAGES = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
FACES = (0, 1, 2, 3, 5, 10, 20, 50, 100, 200)
PIXELS = (50e3, 250e3, 500e3, 1e6, 2e6, 4e6, 8e6, 12e6, 25e6, 50e6)


class Requests:
    """Counts of requests. Their labels are of fixed sets, whatever clients send. One for each process.

    They are made when they are first counted, or at `begin`: a process that serves no requests is to tell of none.
    """

    def __init__(self, *, deadline_s: float, registry: CollectorRegistry = REGISTRY) -> None:
        self._registry = registry
        self._durations = (*(step for step in DURATIONS if step < deadline_s), deadline_s)

    def _counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, labels: Sequence[str], buckets: Sequence[float]) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self._registry)

    @cached_property
    def _answered(self) -> Counter:
        return self._counter(
            "facebento_requests",
            "Requests by endpoint, status of the answer (499: the client had gone), and name of the key (-: none)",
            ["endpoint", "status", "key"],
        )

    @cached_property
    def _refused(self) -> Counter:
        return self._counter(
            "facebento_refusals",
            "Requests that were answered with an error, by its reason: the type of a 422, or the name of another error",
            ["reason"],
        )

    @cached_property
    def _duration(self) -> Histogram:
        return self._histogram(
            "facebento_request_duration_seconds",
            "From the head of a request to its answer, by endpoint and the kind of status (499: the client had gone)",
            ["endpoint", "status_class"],
            self._durations,
        )

    @cached_property
    def _stages(self) -> Histogram:
        return self._histogram(
            "facebento_stage_duration_seconds", "Of a request in a stage of its work", ["stage"], STAGES
        )

    @cached_property
    def _faces(self) -> Counter:
        return self._counter("facebento_faces_found", "Faces found in images")

    @cached_property
    def _image_faces(self) -> Histogram:
        return self._histogram("facebento_image_faces", "Faces in an image", (), FACES)

    @cached_property
    def _image_pixels(self) -> Histogram:
        return self._histogram("facebento_image_pixels", "Width times height of an image, as sent", (), PIXELS)

    @cached_property
    def _decoded(self) -> Counter:
        return self._counter("facebento_decoded_pixels", "Pixels that decoders made; of a reduced picture, those left")

    @cached_property
    def _received(self) -> Counter:
        return self._counter("facebento_received_bytes", "Of request bodies")

    @cached_property
    def _sent(self) -> Counter:
        return self._counter("facebento_sent_bytes", "Of the bodies of answers")

    @cached_property
    def _admissions(self) -> Counter:
        return self._counter(
            "facebento_admissions",
            "Requests with a key by what became of them at the gate: admitted, or which bound they were refused for",
            ["outcome"],
        )

    def begin(self) -> None:
        """To be called in a process that serves requests. Tells of none: the first one of each outcome is to be seen as
        one more, and that none come as well.
        """
        for outcome in OUTCOMES:
            self._admissions.labels(outcome)

    def admission(self, outcome: str) -> None:
        """For api.admission.Admission."""
        self._admissions.labels(outcome).inc()

    def count(
        self,
        *,
        endpoint: str,
        status: int,
        key: str | None,
        duration_s: float,
        work: stages.Work,
        seconds: Mapping[str, float],
        bytes_in: int,
        bytes_out: int,
    ) -> None:
        """seconds: of each stage of the work."""
        self._answered.labels(endpoint, str(status), key or NOBODY).inc()
        # Apart from refusals, which take no time: clients that give up are what tells of a service that is too slow.
        kind = str(status) if status == CLIENT_GONE else f"{status // 100}xx"
        self._duration.labels(endpoint, kind).observe(duration_s)
        if work.reason:
            self._refused.labels(work.reason).inc()
        for stage, spent in seconds.items():
            self._stages.labels(stage).observe(spent)
        for faces, pixels in work.found:
            self._faces.inc(faces)
            self._image_faces.observe(faces)
            self._image_pixels.observe(pixels)
        if work.decoded:
            self._decoded.inc(sum(work.decoded))
        if bytes_in:
            self._received.inc(bytes_in)
        if bytes_out:
            self._sent.inc(bytes_out)
