"""What every section of a run is given."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.speed.ceiling import Ceiling
from bench.speed.results import Results
from bench.speed.service import Service
from bench.speed.work import Prepared


@dataclass(frozen=True)
class Run:
    services: Sequence[Service]
    ceiling: Ceiling
    detector: Prepared
    embedder: Prepared
    results: Results
    rounds: int
    seconds: float  # of one measurement
    clients: Sequence[int]  # of the curve over clients
    quick: bool
