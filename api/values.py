"""What the values of some settings must be, and what they are where nobody sets them."""

import math
import os
import re
from urllib.parse import urlsplit

from bentoml._internal.resource import query_cgroup_cpu_count

_SPANS_PATH = "/v1/traces"  # where OTLP over HTTP takes spans


def cores() -> int:
    """The cores that this process may use: those it may run on, or fewer where its container has a CPU limit."""
    pinned = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(pinned, math.ceil(query_cgroup_cpu_count()))


def device(text: str) -> str:
    """Raises ValueError for what names no device."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+(,\d+)*)?", text):
        raise ValueError("must be auto, cpu, cuda or cuda:N, N being the number of a GPU or several, as in cuda:0,1")
    if len(set(map(int, numbers := re.findall(r"\d+", text)))) < len(numbers):
        raise ValueError("names a GPU twice: each one has one process of a runner")
    return text


def spans_url(text: str) -> str:
    """A collector's URL -> that of its path for spans; nothing stays nothing. Raises ValueError for any other text."""
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, a bracket too few
        usable = False
    if not usable or re.search(r"[^!-~]", text):
        raise ValueError("must be the URL of a collector that takes OTLP over HTTP, as in http://collector:4318")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(
            "must be a URL without a user, a query or a fragment: what a collector asks for goes into "
            "OTEL_EXPORTER_OTLP_HEADERS"
        )
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path if path.endswith(_SPANS_PATH) else path + _SPANS_PATH}"
