"""How a detector's raw outputs become candidates, by the name that a description gives it.

A new decoding is a function (canvas size, candidates) -> Tail, its row here, and its name in catalog.py's DetectorSpec.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from models.cells import retinaface, scrfd, yunet
from models.centerface import centerface
from models.tail import Tail

DECODINGS: Mapping[str, Callable[[int, int], Tail]] = MappingProxyType(
    {"centerface": centerface, "retinaface": retinaface, "scrfd": scrfd, "yunet": yunet}
)
