"""Coverage-guided fuzzing of what reads features and base64: any bytes are read, or refused as the client's fault.

python -m tests.fuzz.fuzz_feature --seconds 60
"""

import base64
import struct
import zlib
from collections.abc import Iterator

import atheris
import numpy as np

with atheris.instrument_imports(include=["faces.feature", "api.payload", "api.keys"]):
    from api import keys, payload
    from faces import feature

from api.errors import Base64Error
from faces.errors import FeatureError
from tests.fuzz.fuzzing import fuzz

FINGERPRINT = bytes(range(16))
DIMENSIONS = 8


def target(data: bytes) -> None:
    # libFuzzer does not guess a checksum: the bytes are tried as they are, and with the right one behind.
    for each in (data, data + struct.pack("<I", zlib.crc32(data))):
        try:
            vector = feature.decode(each, FINGERPRINT, DIMENSIONS)
        except FeatureError:
            continue
        assert feature.encode(vector, FINGERPRINT) == each
        assert -1 <= feature.cosine_similarity(vector, np.ones(DIMENSIONS, np.float32)) <= 1
    text = data.decode("utf-8", "replace")
    try:
        found = payload.decode_base64(text)
    except Base64Error:
        pass
    else:
        digits = text.rpartition(",")[2].replace("\r", "").replace("\n", "")
        assert base64.b64decode(digits, validate=True) == found
    try:
        known = keys.read_keys([("FACEBENTO_API_KEYS", text.split(","))])
    except ValueError as error:
        assert "FACEBENTO_API_KEYS" in str(error)  # noqa: PT017  no test of pytest's
    else:
        assert known.find(b"") is None


def corpus() -> Iterator[bytes]:
    yield feature.encode(np.arange(DIMENSIONS, dtype=np.float32), FINGERPRINT)
    yield feature.encode(np.full(DIMENSIONS, np.nan, np.float32), FINGERPRINT)
    yield feature.encode(np.arange(3, dtype=np.float32), bytes(16))[:-4]
    yield base64.encodebytes(bytes(range(100)))
    yield b"data:image/png;name=x;base64," + base64.b64encode(b"abc")
    yield b"key,alice=key,alice=sha256:" + b"0" * 64


if __name__ == "__main__":
    fuzz(target, corpus(), longest=512)
