"""The rows on what a request holds besides pictures: base64, feature, parameters."""

import base64
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from faces import feature
from tests.inputs import pictures
from tests.inputs.table import JSON_FIELDS, MARK, Given, Row, sent, text

DETECT = ("/v1/detect", "/v1/file/detect")


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
                yield Row(
                    "base64",
                    f"{name} in {at}",
                    path,
                    # A black dot and a feature are what else is in the request: the error is the other field's.
                    lambda given, fields=fields, at=at, wrong=wrong: {
                        "json": {each: wrong if each == at else _harmless(given, each) for each in fields}
                    },
                    place=("body", at),
                    kind="base64_invalid",
                )
    for name, write in {
        "with line breaks": lambda code: "\r\n".join(code[at : at + 76] for at in range(0, len(code), 76)),
        "behind data:": lambda code: f"data:image/png;base64,{code}",
        "behind data: of another picture": lambda code: f"data:image/svg+xml;charset=x;base64,{code}",
    }.items():
        yield Row(
            "base64",
            name,
            "/v1/detect",
            lambda given, write=write: {"json": {"image": write(text(given.photo))}},
            200,
            holds=lambda answer, _: len(answer["faces"]) == 1,
        )


def _harmless(given: Given, field: str) -> str:
    return given.feature if field.startswith("feature") else text(pictures.one_bit_png(8, 8))


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
                yield Row(
                    "feature",
                    f"{name} in {at}",
                    "/v1/feature-score",
                    lambda given, at=at, make=make: _features(given, **{at: make}),
                    place=("body", at),
                    kind=kind,
                )
    yield Row("feature", "10 MB of it", "/v1/feature-score", lambda given: _features(given, feature1=_ten_mb), 413)
    huge = vector(lambda values: np.multiply(values, 1e38, out=values))
    tiny = vector(lambda values: np.multiply(values, 1e-37, out=values))
    for name, make in {"1e38": huge, "1e-37": tiny}.items():
        # As long as it has a direction, its length is nothing to the comparison.
        yield Row(
            "feature",
            name,
            "/v1/feature-score",
            lambda given, make=make: _features(given, feature1=make),
            200,
            holds=lambda answer, _: answer["score"] > 0.99,
        )
    yield Row(
        "feature",
        "the opposite at 1e38",
        "/v1/feature-score",
        lambda given: _features(given, feature1=huge, feature2=vector(lambda v: np.multiply(v, -1e38, out=v))),
        200,
        holds=lambda answer, _: 0 < answer["score"] < 0.1,
    )


def _ten_mb(right: bytes) -> bytes:
    return right * (10 * 2**20 // len(right))


def _features(given: Given, **make: Callable[[bytes], bytes]) -> dict[str, Any]:
    right = base64.b64decode(given.feature)
    fields = JSON_FIELDS["/v1/feature-score"]
    return {"json": {name: text(make[name](right)) if name in make else given.feature for name in fields}}


def parameters() -> Iterator[Row]:
    too_low, too_high, no_int = "greater_than_equal", "less_than_equal", "int_type"
    in_json: list[tuple[str, Any, str]] = [
        ("maxResults", 0, too_low),
        ("maxResults", -1, too_low),
        ("maxResults", 751, too_high),
        ("maxResults", 10**9, too_high),
        ("maxResults", 2**64, too_high),
        ("maxResults", 1.5, no_int),
        ("maxResults", 7.0, no_int),
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
            yield Row(
                "parameters",
                f"{name} {value!r}",
                path,
                lambda given, name=name, value=value: {"json": {"image": text(given.photo), name: value}},
                place=("body", name),
                kind=kind,
            )
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
        ("seq", "9" * 5000, "int_parsing*"),
    ]
    for name, value, kind in in_forms:
        yield Row(
            "parameters",
            f"{name} {value[:10]!r}",
            "/v1/file/detect",
            lambda given, name=name, value=value: {"files": {"image": given.photo}, "data": {name: value}},
            place=("body", name),
            kind=kind,
        )
    for seq in (2**63, 2**64 + 1, -(2**70), 10**4000):
        for path in DETECT:
            yield Row(
                "parameters",
                f"seq of {seq.bit_length()} bits",
                path,
                lambda given, path=path, seq=seq: sent(path, {"image": given.photo}, seq=seq),
                200,
                holds=lambda answer, _, seq=seq: answer["seq"] == seq,
            )
    for limit in (1, 750):
        for path in DETECT:
            yield Row(
                "parameters",
                f"maxResults {limit}",
                path,
                lambda given, path=path, limit=limit: sent(path, {"image": given.photo}, maxResults=limit),
                200,
                holds=lambda answer, _: len(answer["faces"]) == 1,
            )
