"""The rows on what a request holds besides pictures: base64, feature, parameters."""

import base64
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from faces import feature
from tests.e2e.running import black_png
from tests.inputs.table import JSON_FIELDS, MARK, Given, Row, as_base64, one_face, sent

DETECT = ("/v1/detect", "/v1/file/detect")
COMPARE = "/v1/feature-score"


def base64_texts() -> Iterator[Row]:
    refused = {
        "garbage": f"?{MARK}!",
        "whitespace": "/9j/ 4AAQ",
        "only whitespace": "    ",
        "a tab": "/9j/4AA\t",
        "no padding": "/9j/4A",
        "too much padding": "/9j/4AAQ====",
        "padding within": "QQ==QQ==",
        "one digit": "A",
        "the URL-safe alphabet": "_9j_4AAQ",
        "fullwidth letters": "ＱＵＪＤ",  # noqa: RUF001
        "a NUL": "QUJ\0",
        "data: of another type": "data:text/plain;base64,QUJD",
        "data: without base64": "data:image/png,QUJD",
        "data: twice": "data:image/png;base64,data:image/png;base64,QUJD",
        "data: without end": "data:image/png" + ";a" * 100_000,
        "a URL": f"http://127.0.0.1/{MARK}.jpg",
        "a file: URL": "file:///etc/passwd",
        "a path": "/etc/passwd",
        "a path upwards": "../../etc/passwd",
    }
    for path, fields in JSON_FIELDS.items():
        for at in fields:
            # All of them for a picture and for a feature, some for every other field.
            every = path in ("/v1/detect", "/v1/feature-score")
            for name in refused if every else ("garbage", "whitespace", "no padding", "a URL", "a path"):
                wrong = refused[name]
                request = partial(_beside_harmless, path, {at: wrong})
                yield Row("base64", f"{name} in {at}", path, request, place=("body", at), kind="base64_invalid")
    for name, (begin, line) in {
        "with line breaks": ("", "\r\n"),
        "behind data:": ("data:image/png;base64,", ""),
        "behind data: of another picture": ("data:image/svg+xml;charset=x;base64,", "\n"),
    }.items():
        yield Row("base64", name, "/v1/detect", partial(_written, begin=begin, line=line), 200, holds=one_face)


def _beside_harmless(path: str, values: dict[str, str], given: Given) -> dict[str, Any]:
    """A black dot or a feature in every other field, so that the error is this one's."""
    dot = as_base64(black_png(8, 8))
    return {"json": {each: given.feature if "feature" in each else dot for each in JSON_FIELDS[path]} | values}


def _written(given: Given, begin: str, line: str) -> dict[str, Any]:
    code = as_base64(given.photo)
    return {"json": {"image": begin + line.join(code[at : at + 76] for at in range(0, len(code), 76))}}


def features() -> Iterator[Row]:
    def vector(write: Callable[[Any], None], *, fingerprint: bytes | None = None) -> Callable[[bytes], bytes]:
        """The feature with another vector or fingerprint, its checksum right."""

        def made(right: bytes) -> bytes:
            values = np.frombuffer(right, "<f4", (len(right) - 28) // 4, 24).copy()
            write(values)
            return feature.encode(values, fingerprint or right[8:24])

        return made

    def sealed(body: bytes) -> bytes:
        return body + struct.pack("<I", zlib.crc32(body))

    refused: dict[str, Callable[[bytes], bytes]] = {
        "empty": lambda _: b"",
        "three bytes": lambda _: b"FBF",
        "too short": lambda right: right[:-1],
        "too long": lambda right: right + b"\0",
        "half of it": lambda right: right[: len(right) // 2],
        "another magic": lambda right: sealed(b"FBFU" + right[4:-4]),
        "another format version": lambda right: sealed(right[:4] + b"\2" + right[5:-4]),
        "another element type": lambda right: sealed(right[:5] + b"\2" + right[6:-4]),
        "a wrong length": lambda right: sealed(right[:6] + b"\xff\xff" + right[8:-4]),
        "a wrong checksum": lambda right: right[:-1] + bytes([right[-1] ^ 1]),
        "one bit": lambda right: right[:100] + bytes([right[100] ^ 1]) + right[101:],
        "NaN": vector(lambda values: values.fill(np.nan)),
        "one NaN": vector(lambda values: values.__setitem__(7, np.nan)),
        "infinite": vector(lambda values: values.__setitem__(7, np.inf)),
        "zero": vector(lambda values: values.fill(0)),
        "7 MB of it": lambda right: right * (7 * 2**20 // len(right)),
    }
    others: dict[str, Callable[[bytes], bytes]] = {
        "another model's": vector(lambda _: None, fingerprint=bytes(16)),
        "another model's, NaN": vector(lambda values: values.fill(np.nan), fingerprint=bytes(16)),
        "of no dimension": lambda right: feature.encode(np.zeros(0, np.float32), right[8:24]),
    }
    for kind, cases in (("feature_invalid", refused), ("feature_model_mismatch", others)):
        for name, make in cases.items():
            for at in ("feature1", "feature2"):
                request = partial(_features, {at: make})
                yield Row("feature", f"{name} in {at}", COMPARE, request, place=("body", at), kind=kind)
    ten_mb = partial(_features, {"feature1": lambda right: right * (10 * 2**20 // len(right))})
    yield Row("feature", "10 MB of it", COMPARE, ten_mb, 413)
    huge = vector(lambda values: np.multiply(values, 1e38, out=values))
    tiny = vector(lambda values: np.multiply(values, 1e-37, out=values))
    for name, make in {"1e38": huge, "1e-37": tiny}.items():
        # As long as it has a direction, its length is nothing to the comparison.
        alike = partial(_scored, low=0.99, high=1)
        yield Row("feature", name, COMPARE, partial(_features, {"feature1": make}), 200, holds=alike)
    opposite = partial(
        _features, {"feature1": huge, "feature2": vector(lambda values: np.multiply(values, -1e38, out=values))}
    )
    yield Row("feature", "the opposite at 1e38", COMPARE, opposite, 200, holds=partial(_scored, low=0, high=0.1))


def _scored(answer: Any, _: Given, low: float, high: float) -> bool:
    return bool(low <= answer["score"] <= high)


def _features(make: dict[str, Callable[[bytes], bytes]], given: Given) -> dict[str, Any]:
    right = base64.b64decode(given.feature)
    fields = JSON_FIELDS[COMPARE]
    return {"json": {name: as_base64(make[name](right)) if name in make else given.feature for name in fields}}


def parameters() -> Iterator[Row]:
    too_low, too_high, no_int = "greater_than_equal", "less_than_equal", "int_type"
    in_json: list[tuple[str, Any, str]] = [
        ("maxResults", 0, too_low),
        ("maxResults", -1, too_low),
        ("maxResults", 751, too_high),
        ("maxResults", 10**9, too_high),
        ("maxResults", 2**64, too_high),
        ("maxResults", 1.5, no_int),
        ("maxResults", 751.0, too_high),
        ("maxResults", 1e300, too_high),
        ("maxResults", "7", no_int),
        ("maxResults", True, no_int),
        ("maxResults", None, no_int),
        ("maxResults", [7], no_int),
        ("detectSortType", 9, too_high),
        ("detectSortType", -1, too_low),
        ("detectSortType", "0", no_int),
        ("seq", 1.5, no_int),
        ("seq", "7", no_int),
    ]
    for name, value, kind in in_json:
        paths = ("/v1/detect", "/v1/multi-feature", "/v1/multi-embeddings")
        for path in paths if name == "maxResults" else paths[:1]:
            yield _parameter(path, name, value, kind)
    in_forms = [
        *(
            (name, each, "int_parsing")
            for name in ("maxResults", "seq")
            for each in ("1.5", "1e3", "1_0", "x", "\u0667", "0x7")
        ),
        ("maxResults", "0", too_low),
        ("maxResults", "-1", too_low),
        ("maxResults", "751", too_high),
        ("maxResults", str(10**9), too_high),
        ("detectSortType", "9", too_high),
        ("seq", "9" * 5000, "int_parsing_size"),
    ]
    for name, value, kind in in_forms:
        yield _parameter("/v1/file/detect", name, value, kind)
    for seq in (2**63, 2**64 + 1, -(2**70), 10**4000):
        for path in DETECT:
            name = f"seq of {seq.bit_length()} bits"
            yield Row("parameters", name, path, partial(_asked, path, seq=seq), 200, holds=partial(_echoed, seq=seq))
    for limit in (1, 750, 7.0):
        for path in DETECT if isinstance(limit, int) else DETECT[:1]:
            name = f"maxResults {limit}"
            yield Row("parameters", name, path, partial(_asked, path, maxResults=limit), 200, holds=one_face)


def _parameter(path: str, name: str, value: Any, kind: str) -> Row:
    request = partial(_asked, path, **{name: value})
    return Row("parameters", f"{name} {value!r:.20}", path, request, place=("body", name), kind=kind)


def _asked(path: str, given: Given, **parameters: Any) -> dict[str, Any]:
    return sent(path, {"image": given.photo}, **parameters)


def _echoed(answer: Any, _: Given, seq: int) -> bool:
    return bool(answer["seq"] == seq)
