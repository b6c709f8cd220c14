"""Counts of requests, in a registry of their own."""

import pytest
from prometheus_client import CollectorRegistry

from api.admission import OUTCOMES
from api.metrics import Requests
from stages import Work


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def count(requests: Requests, work: Work, **differently: object) -> None:
    told: dict[str, object] = {
        "endpoint": "/v1/detect",
        "status": 200,
        "key": "billing",
        "duration_s": 0.2,
        "seconds": {},
        "bytes_in": 30,
        "bytes_out": 4,
    }
    requests.count(work=work, **{**told, **differently})  # type: ignore[arg-type]


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"facebento_{name}", labels)


def test_a_request_is_counted_in_all_that_it_took(registry: CollectorRegistry) -> None:
    work = Work("id", found=[(2, 300_000), (0, 1_000_000)], decoded=[300_000, 500_000])
    count(Requests(deadline_s=30, registry=registry), work, seconds={"decode": 0.003, "detect": 0.1})
    told = {
        "requests_total": {"endpoint": "/v1/detect", "status": "200", "key": "billing"},
        "stage_duration_seconds_count": {"stage": "detect"},
        "request_duration_seconds_count": {"endpoint": "/v1/detect", "status_class": "2xx"},
    }
    for name, labels in told.items():
        assert value(registry, name, **labels) == 1
    assert value(registry, "request_duration_seconds_sum", endpoint="/v1/detect", status_class="2xx") == 0.2
    assert value(registry, "stage_duration_seconds_bucket", stage="decode", le="0.005") == 1
    assert value(registry, "stage_duration_seconds_bucket", stage="decode", le="0.0025") == 0
    assert value(registry, "faces_found_total") == 2
    assert value(registry, "image_faces_bucket", le="0.0") == 1
    assert value(registry, "image_faces_bucket", le="2.0") == 2
    assert value(registry, "image_pixels_sum") == 1_300_000
    assert value(registry, "decoded_pixels_total") == 800_000
    assert value(registry, "received_bytes_total") == 30
    assert value(registry, "sent_bytes_total") == 4
    assert not [family for family in registry.collect() if family.name == "facebento_refusals"]


def test_clients_that_gave_up_are_told_apart_from_refusals(registry: CollectorRegistry) -> None:
    count(Requests(deadline_s=30, registry=registry), Work("id"), status=499, key="phone")
    assert value(registry, "request_duration_seconds_count", endpoint="/v1/detect", status_class="499") == 1


def test_a_refusal_is_counted_by_its_reason(registry: CollectorRegistry) -> None:
    count(Requests(deadline_s=30, registry=registry), Work("id", reason="key_wrong"), status=401, key=None)
    assert value(registry, "refusals_total", reason="key_wrong") == 1
    assert value(registry, "requests_total", endpoint="/v1/detect", status="401", key="-") == 1
    assert value(registry, "request_duration_seconds_count", endpoint="/v1/detect", status_class="4xx") == 1
    assert value(registry, "faces_found_total") is None


@pytest.mark.parametrize("deadline_s", [0.1, 30, 150, 3600])
def test_durations_are_told_from_milliseconds_to_the_deadline(registry: CollectorRegistry, deadline_s: float) -> None:
    count(Requests(deadline_s=deadline_s, registry=registry), Work("id"))
    [family] = [each for each in registry.collect() if each.name == "facebento_request_duration_seconds"]
    bounds = [float(each.labels["le"]) for each in family.samples if each.name.endswith("_bucket")]
    assert (bounds[0], bounds[-2:]) == (0.005, [deadline_s, float("inf")])
    assert bounds == sorted(set(bounds))


def test_every_outcome_at_the_gate_is_told_before_the_first_request(registry: CollectorRegistry) -> None:
    requests = Requests(deadline_s=30, registry=registry)
    requests.begin()
    assert [value(registry, "admissions_total", outcome=each) for each in OUTCOMES] == [0, 0, 0, 0]
    requests.admission("places")
    assert [value(registry, "admissions_total", outcome=each) for each in OUTCOMES] == [0, 0, 0, 1]


def test_a_process_that_counts_none_tells_of_none(registry: CollectorRegistry) -> None:
    Requests(deadline_s=30, registry=registry)
    assert list(registry.collect()) == []
