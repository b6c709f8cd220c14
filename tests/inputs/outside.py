"""The rows on what is around a request's content: key, envelope, size."""

import gzip
import json
from collections.abc import Iterator
from functools import partial
from itertools import chain, repeat
from typing import Any

from tests.inputs.table import (
    FIELDS,
    FORM,
    FORM_FIELDS,
    JSON,
    JSON_FIELDS,
    MARK,
    Given,
    Request,
    Row,
    SentKeys,
    as_base64,
    one_face,
)

MANY = 100_000


def keys() -> Iterator[Row]:
    refused: dict[str, SentKeys] = {
        "empty": lambda _: [b""],
        "wrong": lambda _: [MARK.encode()],
        "a character too many": lambda key: [f"{key}x".encode()],
        "a character too few": lambda key: [key[:-1].encode()],
        "in upper case": lambda key: [key.upper().encode()],
        "10 kB": lambda _: [b"x" * 10_000],
        "10 kB that begin with the right one": lambda key: [key.encode() + b"x" * 10_000],
        "not ASCII": lambda _: ["schlüssel".encode()],
        "not UTF-8": lambda _: [b"\xff\xfe"],
        "as a bearer": lambda key: [f"Bearer {key}".encode()],
        "twice": lambda key: [key.encode(), key.encode()],
        "right and wrong": lambda key: [key.encode(), b"wrong"],
        "two in one": lambda key: [f"{key}, {key}".encode()],
    }
    for path in FIELDS:
        for name, sent_keys in refused.items():
            yield Row("key", name, path, {"content": b"{"}, 401, keys=sent_keys)
        place = ("header", "x-api-key")
        missing: dict[str, Request] = {
            "missing": {"content": b"{"},
            "in the query": lambda given: {"content": b"{", "params": {"x-api-key": given.key, "api_key": given.key}},
            "in a cookie": lambda given: {"content": b"{", "headers": {"cookie": f"x-api-key={given.key}"}},
            "in the body": lambda given: {"json": {"x-api-key": given.key}},
        }
        for name, request in missing.items():
            yield Row("key", name, path, request, place=place, kind="missing", keys=lambda _: [])


def envelopes() -> Iterator[Row]:
    for path, fields in JSON_FIELDS.items():
        yield from _json(path, fields)
    for path, fields in FORM_FIELDS.items():
        yield from _form(path, fields)
    place = ("header", "content-encoding")
    for path in FIELDS:
        for coding in ("gzip", "br", "deflate, gzip", "nonsense"):
            request = {"content": gzip.compress(b"{}"), "headers": {"content-encoding": coding}}
            yield Row("envelope", f"{coding} encoding", path, request, place=place, kind="content_encoding_unsupported")


def _json(path: str, fields: tuple[str, ...]) -> Iterator[Row]:
    first, *others = fields
    rest = "".join(f', "{name}": ""' for name in others)
    whole = dict.fromkeys(fields, MARK)

    def row(name: str, body: str | bytes, kind: str, *place: str, headers: dict[str, str] = JSON) -> Row:
        request = {"content": body, "headers": headers}
        return Row("envelope", name, path, request, place=("body", *place), kind=kind)

    yield row("empty body", b"", "missing")
    broken: dict[str, str | bytes] = {
        "broken JSON": "{",
        "no JSON": MARK,
        "text behind JSON": f"{{}} {MARK}",
        "single quotes": f"{{'{first}': '{MARK}'}}",
        "not UTF-8": f'{{"{first}": "\xff"}}'.encode("latin-1"),
        "UTF-16": json.dumps(whole).encode("utf-16"),
        "a NUL behind it": json.dumps(whole).encode() + b"\0",
        "half a surrogate pair": f'{{"{first}": "\\ud800"}}',
        "100,000 nested brackets": "[" * MANY,
        "100,000 nested objects": '{"a":' * MANY,
        "100,000 nested brackets in a field": f'{{"{first}": ' + "[" * MANY + "]" * MANY + "}",
        "an Infinity that is none": f'{{"{first}": Infinit}}',
    }
    for name, body in broken.items():
        yield row(name, body, "json_invalid")
    for name, text in {"an array": f'["{MARK}"]', "a string": f'"{MARK}"', "a number": "7", "null": "null"}.items():
        yield row(name, text, "json_object_expected")
    for name, content_type in {
        "a form": "multipart/form-data; boundary=xyz",
        "text": "text/plain",
        "a picture": "image/png",
        "nonsense": "nonsense",
    }.items():
        yield row(f"called {name}", json.dumps(whole), "json_object_expected", headers={"content-type": content_type})
    for name, value in {
        "null": "null",
        "a number": "7",
        "NaN": "NaN",
        "1e999": "1e999",
        "true": "true",
        "a list": f'["{MARK}"]',
        "an object": f'{{"{MARK}": 1}}',
    }.items():
        yield row(f"{name} for text", f'{{"{first}": {value}{rest}}}', "string_type", first)
    yield row("a field missing", f'{{"other": "{MARK}"{rest}}}', "missing", first)
    twice = f'{{"{first}": 7, "{first}": "?{MARK}"{rest}}}'  # of a key that comes twice the last counts
    yield row("a key twice", twice, "base64_invalid", first)


def _form(path: str, fields: tuple[str, ...]) -> Iterator[Row]:
    first, *others = fields

    def part(name: str, *, more: str = '; filename="x"', content: str = MARK) -> bytes:
        return f'--xyz\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{content}\r\n'.encode()

    rest = b"".join(map(part, others))
    end = b"--xyz--\r\n"

    def row(name: str, body: bytes, status: int, kind: str = "", headers: dict[str, str] = FORM) -> Row:
        request = {"content": body, "headers": headers}
        return Row("envelope", name, path, request, status, ("body", first), kind)

    for name, content_type in {
        "no boundary": "multipart/form-data",
        "an empty boundary": "multipart/form-data; boundary=",
        "a boundary of 10 kB": "multipart/form-data; boundary=" + "x" * 10_000,
        "a boundary in no ASCII": "multipart/form-data; boundary=\xff",
        "another boundary": "multipart/form-data; boundary=abc",
    }.items():
        body = part(first) + rest + end
        yield row(name, body, 400, headers={"content-type": content_type})
    yield row("no form at all", MARK.encode(), 400)
    yield row("1,001 parts", part("a") * 1001 + rest + end, 400)
    yield row("1,001 fields", part("a", more="") * 1001 + rest + end, 400)
    yield row("a part without a name", b"--xyz\r\nContent-Disposition: form-data\r\n\r\n1\r\n" + end, 400)
    yield row("a part without headers", b"--xyz\r\n\r\n1\r\n" + end, 400)
    yield row("a header that is none", b"--xyz\r\n: : \0\r\n\r\n1\r\n" + end, 400)
    yield row("a header without end", b"--xyz\r\n" + b"X" * MANY, 400)
    yield row("a string for a file", part(first, more="") + rest + end, 422, "file_expected")
    yield row(
        "a string of 1 MB for a file", part(first, more="", content="x" * 2**20) + rest + end, 422, "file_expected"
    )
    yield row("a field missing", part("other") + rest + end, 422, "missing")
    yield row("a name with a NUL", part(f"{first}\0") + rest + end, 422, "missing")
    if not others:  # with two fields, both would be told
        urlencoded = {"content-type": "application/x-www-form-urlencoded"}
        yield row("an urlencoded form", f"{first}={MARK}".encode(), 422, "file_expected", urlencoded)
        yield row("empty body", b"", 422, "missing")
        yield row("nothing but the end", end, 422, "missing")
        yield row("no content type", part(first) + end, 422, "missing", {})
        yield row("JSON", json.dumps({first: MARK}).encode(), 422, "missing", JSON)
        yield row("a part without its end", part(first)[:-2], 422, "missing")


def sizes() -> Iterator[Row]:
    for path, (first, *_) in FIELDS.items():
        if path in FORM_FIELDS:
            headers = FORM
            start = f'--xyz\r\nContent-Disposition: form-data; name="{first}"; filename="x"\r\n\r\n'.encode()
        else:
            headers = JSON
            start = f'{{"{first}": "'.encode()
        yield Row("size", "11 MB", path, partial(_long, start=start, headers=headers), 413)
        chunks = chain([start], repeat(b"A" * 65536, 1600))
        yield Row("size", "100 MB chunked", path, {"content": chunks, "headers": headers}, 413)


def _long(_: Given, start: bytes, headers: dict[str, str]) -> dict[str, Any]:
    return {"content": start + b"A" * (11 * 2**20), "headers": headers}


def accepted() -> Iterator[Row]:
    """What is unusual and yet right."""

    def row(name: str, path: str, request: Request) -> Row:
        return Row("envelope", name, path, request, 200, holds=one_face)

    def as_json(given: Given, headers: dict[str, str], **more: Any) -> dict[str, Any]:
        return {"content": json.dumps({"image": as_base64(given.photo), **more}), "headers": headers}

    for name, headers in {
        "no content type": {},
        "a charset": {"content-type": "application/json; charset=utf-8"},
        "encoded as identity": {**JSON, "content-encoding": "identity"},
    }.items():
        yield row(name, "/v1/detect", partial(as_json, headers=headers))
    yield row("a field that nobody knows", "/v1/detect", lambda given: as_json(given, JSON, more=[MARK]))
    for name, declared in {"a lie about name and type": ("../../passwd", "text/html"), "no type": ("x", "")}.items():
        file, kind = declared
        yield row(name, "/v1/file/detect", partial(_named, file=file, kind=kind))


def _named(given: Given, file: str, kind: str) -> dict[str, Any]:
    return {"files": {"image": (file, given.photo, kind)}}
