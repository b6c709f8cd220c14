"""API keys: how they are written down, and whose it is that came with a request."""

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence

_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63})=(.*)", re.DOTALL)
_HASH = re.compile(r"sha256:([0-9A-Fa-f]{64})")
LONGEST_BYTES = 1024  # of a key that is looked at: hashing more is work for nobody


class Keys:
    """The accepted keys, kept as SHA-256 digests only."""

    def __init__(self, names: dict[bytes, str]) -> None:
        self._names = names  # digest -> name

    def __len__(self) -> int:
        return len(self._names)

    def name_of(self, key: bytes) -> str | None:
        """The name of the key, or None if it is not accepted.

        Takes the same time whichever key it is and however much of it is right: digests are compared, all of them.
        """
        digest = hashlib.sha256(key[:LONGEST_BYTES]).digest()
        found = None
        for accepted, name in self._names.items():
            if hmac.compare_digest(accepted, digest):
                found = name
        return None if len(key) > LONGEST_BYTES else found


def read_keys(texts: Iterable[tuple[str, Sequence[str]]]) -> Keys:
    """Keys as written down: plain or `sha256:HEX`, with `NAME=` in front or not; empty ones are passed over.

    texts: pairs of the variable that they stand in and the single texts. An unnamed key is called key1, key2, ... by
    its place. What follows NAME= may not be only `=`: this is a base64 text's padding.

    Raises ValueError, naming the variable and the place and never the key.
    """
    names: dict[bytes, str] = {}
    for variable, entries in texts:
        for entry in filter(None, map(str.strip, entries)):
            place = f"key{len(names) + 1}"
            named = _NAMED.fullmatch(entry)
            name, key = named.groups() if named and named[2].strip("=") else (place, entry)
            if key.startswith("sha256:"):
                hashed = _HASH.fullmatch(key)
                if hashed is None:
                    raise ValueError(f"{variable}: what follows sha256: in {place} must be 64 hexadecimal digits.")
                digest = bytes.fromhex(hashed[1])
            elif not key.isascii() or not key.isprintable() or " " in key or len(key) > LONGEST_BYTES:
                raise ValueError(
                    f"{variable}: {place} must be printable ASCII without spaces, {LONGEST_BYTES} characters at most: "
                    "a header can't carry anything else."
                )
            else:
                digest = hashlib.sha256(key.encode()).digest()
            names[digest] = name
    return Keys(names)
