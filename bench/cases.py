"""What a bad request is, and what may be answered to it."""

from dataclasses import dataclass

from bench.client import encode

JSON = ("Content-Type", "application/json")
ONE_IMAGE = ("detect", "feature", "embeddings", "multi-feature", "multi-embeddings")  # those that detect
ALIGNED = ("embeddings-only", "feature-only")
FORMS = ("detect", "feature", "embeddings", *ALIGNED)

REFUSED = frozenset({400, 413, 422})
CONTENT = frozenset({422})
TOO_LARGE = frozenset({413})
ANY = frozenset({200, 422})


@dataclass(frozen=True, slots=True)
class Case:
    """A request, and what may be answered."""

    kind: str
    sent: bytes
    statuses: frozenset[int]  # any other, but for a 429, is a fault of the service
    left: bool = False  # the client closes after sending, without waiting for an answer
    may_be_cut: bool = False  # the answer may be lost: the server closes while a body that it refuses still comes


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends: with a key, and a good feature in base64 to start from."""

    key: str
    feature: str

    def post(self, path: str, body: bytes, *headers: tuple[str, str]) -> bytes:
        return encode("POST", f"/v1/{path}", [("x-api-key", self.key), *headers], body)
