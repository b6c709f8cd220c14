"""What the sections of a run are given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.speed.ceiling import Ceiling
from bench.speed.results import Results
from bench.speed.service import Service
from bench.speed.work import Prepared
from runners.opening import GpuEngine

Variants = Mapping[str, Mapping[str, str]]  # name -> settings of the service


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Of those that run while no server does."""

    variants: Variants
    detector: Prepared
    embedder: Prepared
    cores: int
    results: Results
    rounds: int
    seconds: float  # of one measurement
    clients: Sequence[int]  # of the curve over clients
    gpu_engines: Sequence[GpuEngine]  # that are measured where there is a GPU
    quick: bool

    def sizes(self, sizes: Sequence[int]) -> Sequence[int]:
        """The points of a curve; in a quick run the first, the middle and the last."""
        return sizes if not self.quick else sorted({sizes[0], sizes[len(sizes) // 2], sizes[-1]})


@dataclass(frozen=True, kw_only=True)
class Run(Plan):
    """Of all others."""

    services: Sequence[Service]
    ceiling: Ceiling
