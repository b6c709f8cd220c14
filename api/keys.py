"""API keys: how they are written down, whose it is that came with a request, and the file that may change meanwhile."""

import asyncio
import datetime as dt
import hashlib
import hmac
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger("facebento.keys")

_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63})=(.*)", re.DOTALL)
_EXPIRING = re.compile(r"(\S+)\s+expires=(\S+)")
_HASH = re.compile(r"sha256:([0-9A-Fa-f]{64})")
LONGEST_BYTES = 1024  # of a key that is looked at: hashing more is work for nobody
RELOAD_S = 1.0  # a changed file is taken once it has stayed the same for as long: it may be written in pieces


@dataclass(frozen=True, slots=True)
class Key:
    name: str
    expires: dt.datetime | None = None  # the first moment at which it is no longer taken

    @property
    def expired(self) -> bool:
        return self.expires is not None and dt.datetime.now(dt.UTC) >= self.expires


class Keys:
    """The accepted keys, kept as SHA-256 digests only."""

    def __init__(self, keys: Mapping[bytes, Key]) -> None:
        self._keys = dict(keys)  # by digest

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keys) and self._keys == other._keys

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def live(self) -> list[Key]:
        return [key for key in self._keys.values() if not key.expired]

    @property
    def expired(self) -> list[Key]:
        return [key for key in self._keys.values() if key.expired]

    def find(self, sent: bytes) -> Key | None:
        """The key that was sent, expired or not; None if it is not one of these.

        Takes the same time whichever key it is and however much of it is right: digests are compared, all of them.
        """
        digest = hashlib.sha256(sent[:LONGEST_BYTES]).digest()
        found = None
        for accepted, key in self._keys.items():
            if hmac.compare_digest(accepted, digest):
                found = key
        return None if len(sent) > LONGEST_BYTES else found

    def describe(self) -> str:
        """Their names, for the log."""
        told = [f"{key.name} (until {key.expires:%Y-%m-%dT%H:%MZ})" if key.expires else key.name for key in self.live]
        told += [f"{key.name} (expired)" for key in self.expired]
        return ", ".join(told) or "none"


class KeyRing:
    """The keys that count now. `watch` follows the file that some of them stand in."""

    def __init__(self, read: Callable[[], Keys]) -> None:
        """read: gives the keys as they are written down now. Raises ValueError, also later, where they can't be."""
        self._read = read
        self._keys = read()

    def __call__(self) -> Keys:
        return self._keys

    async def watch(self, file: Path) -> None:
        """Read the keys again when the file has changed and has stayed so, until cancelled.

        Where they can't be read, those before stay in use, and the log says why.
        """
        # Not the state of now: the file may have changed since it was read.
        taken = seen = None
        told = ""
        while True:
            await asyncio.sleep(RELOAD_S)
            now = _state(file)
            settled, seen = now == seen, now
            if not settled or (now == taken and not told):
                continue
            try:
                keys = await asyncio.to_thread(self._read)
            except Exception as error:  # noqa: BLE001  whatever it is: the file is to be followed all the same
                # And read again until it can be: what was wrong need not be in the file.
                if told != str(error):
                    told = str(error)
                    log.error("the keys stay as they were: %s", error)  # noqa: TRY400  the message says it all
                continue
            taken, told = now, ""
            if keys != self._keys:
                self._keys = keys
                level = logging.INFO if keys.live else logging.WARNING
                log.log(level, "the keys in use now: %s", keys.describe())


def _state(file: Path) -> tuple[int, int, int, int] | None:
    """What changes when the file does, also where a link to it is replaced; None where it is not there."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def read_keys(texts: Iterable[tuple[str, Sequence[str]]]) -> Keys:
    """Keys as written down: plain or `sha256:HEX`, with `NAME=` in front or not, with ` expires=DATE` behind or not;
    empty ones are passed over.

    texts: pairs of the variable that they stand in and the single texts. An unnamed key is called key1, key2, ... by
    its place. What follows NAME= may not be only `=`: this is a base64 text's padding.

    Raises ValueError, naming the variable and the place and never the key.
    """
    keys: dict[bytes, Key] = {}
    for variable, entries in texts:
        for entry in filter(None, map(str.strip, entries)):
            place = f"key{len(keys) + 1}"
            expiring = _EXPIRING.fullmatch(entry)
            text, expires = (expiring[1], _moment(expiring[2], variable, place)) if expiring else (entry, None)
            named = _NAMED.fullmatch(text)
            name, key = named.groups() if named and named[2].strip("=") else (place, text)
            if key.startswith("sha256:"):
                hashed = _HASH.fullmatch(key)
                if hashed is None:
                    raise ValueError(f"{variable}: what follows sha256: in {place} must be 64 hexadecimal digits.")
                digest = bytes.fromhex(hashed[1])
            elif not key.isascii() or not key.isprintable() or " " in key or len(key) > LONGEST_BYTES:
                raise ValueError(
                    f"{variable}: {place} must be printable ASCII without spaces, {LONGEST_BYTES} characters at most: "
                    "a header can't carry anything else. (` expires=2027-01-31` may follow it.)"
                )
            else:
                digest = hashlib.sha256(key.encode()).digest()
            keys[digest] = Key(name, expires)
    return Keys(keys)


def _moment(text: str, variable: str, place: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        # What was written there may be a part of the key: it is not repeated.
        raise ValueError(
            f"{variable}: what follows expires= in {place} must be a date or a time, such as 2027-01-31 or "
            "2027-01-31T18:00Z."
        ) from None
    return moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
