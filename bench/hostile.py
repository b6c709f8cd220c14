"""Bad requests by the thousand, from a seed: each can be made again by its number alone."""

import base64
import json
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench import hostile_pictures
from bench.client import encode, form, head, json_post
from bench.hostile_pictures import Picture, mutated

MIB = 2**20
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
    number: int
    kind: str
    sent: bytes
    statuses: frozenset[int]  # any other, but for a 429, is a fault of the service
    left: bool = False  # the client closes after sending, without waiting for an answer
    may_be_cut: bool = False  # the answer may be lost: the server closes while a body that it refuses still comes


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes cases. `feature` is a good one, in base64."""

    seed: int
    key: str
    feature: str

    def case(self, number: int) -> Case:
        rng = random.Random(f"{self.seed}:{number}")
        make = rng.choices([make for _, make in KINDS], [weight for weight, _ in KINDS])[0]
        made = make(self, rng)
        return Case(number, made.kind, made.sent, made.statuses, made.left, made.may_be_cut)

    def post(self, path: str, body: bytes, *headers: tuple[str, str]) -> bytes:
        return encode("POST", f"/v1/{path}", [("x-api-key", self.key), *headers], body)


def _case(kind: str, sent: bytes, statuses: frozenset[int], **rest: bool) -> Case:
    return Case(-1, kind, sent, statuses, **rest)


def _path(rng: random.Random) -> str:
    return rng.choice((*ONE_IMAGE, *ALIGNED, "score", "feature-score", *(f"file/{name}" for name in FORMS)))


def _keys(maker: Maker, rng: random.Random) -> Case:
    key = maker.key
    name, headers, statuses = rng.choice(
        (
            ("missing", [], CONTENT),
            ("empty", [("x-api-key", "")], frozenset({401})),
            ("wrong", [("x-api-key", "fb_" + rng.randbytes(16).hex())], frozenset({401})),
            ("one letter more", [("x-api-key", key + "x")], frozenset({401})),
            ("one letter less", [("x-api-key", key[:-1])], frozenset({401})),
            ("10 kB", [("x-api-key", "x" * 10_000)], frozenset({401, 431})),
            ("not ASCII", [("x-api-key", "schl\xfcssel")], frozenset({401})),
            ("twice", [("x-api-key", key), ("x-api-key", key)], frozenset({401})),
            ("bearer", [("Authorization", f"Bearer {key}")], CONTENT),
        )
    )
    query = rng.choice(("", f"?x-api-key={key}"))
    body = rng.choice((b"", b"{", rng.randbytes(rng.choice((10, 100_000)))))
    return _case(f"key: {name}", encode("POST", f"/v1/{_path(rng)}{query}", [*headers, JSON], body), statuses)


def _json(maker: Maker, rng: random.Random) -> Case:
    name, body = rng.choice(
        (
            ("empty", b""),
            ("open", b"{"),
            ("not UTF-8", b'{"image": "\xff\xfe"}'),
            ("nested lists", b"[" * 100_000),
            ("nested objects", b'{"image":' * 100_000),
            ("nested in a field", b'{"image": "AAAA", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
            ("missing field", b"{}"),
            ("null", b"null"),
            ("list", b"[]"),
            ("number", b'{"image": 7}'),
            ("NaN", b'{"image": NaN}'),
            ("1e999", b'{"image": 1e999}'),
            ("twice", b'{"image": "AAAA", "image": "BBBB"}'),
            ("surrogate", b'{"image": "\\ud800"}'),
            ("UTF-16", '{"image": "AAAA"}'.encode("utf-16")),
            ("BOM", b'\xef\xbb\xbf{"image": "AAAA"}'),
            ("many fields", json.dumps({str(n): n for n in range(20_000)}).encode()),
            ("long name", b'{"' + b"n" * 100_000 + b'": 1}'),
            ("long number", b'{"image": ' + b"9" * 100_000 + b"}"),
            ("noise", rng.randbytes(rng.randint(1, 3000))),
            ("mutated", mutated(json.dumps({"image": "AAAA", "maxResults": 1}).encode(), rng)),
        )
    )
    kind = rng.choice((JSON, JSON, ("Content-Type", "text/plain"), ("Content-Type", "application/json; charset=utf-7")))
    path = rng.choice((*ONE_IMAGE, *ALIGNED, "score", "feature-score"))
    return _case(f"json: {name}", maker.post(path, body, kind), CONTENT)


def _envelopes(maker: Maker, rng: random.Random) -> Case:
    picture = hostile_pictures.aligned()["JPEG"]
    good = form("b", {"image": picture})
    of_b = ("Content-Type", "multipart/form-data; boundary=b")
    name, body, headers = rng.choice(
        (
            ("gzip", good, [of_b, ("Content-Encoding", "gzip")]),
            ("no type", good, []),
            ("no boundary", good, [("Content-Type", "multipart/form-data")]),
            ("other boundary", good, [("Content-Type", "multipart/form-data; boundary=c")]),
            ("endless boundary", good, [("Content-Type", f"multipart/form-data; boundary={'b' * 5000}")]),
            ("1,001 parts", form("b", {f"p{n}": b"x" for n in range(1001)}), [of_b]),
            ("1,001 fields", form("b", {f"p{n}": "x" for n in range(1001)}), [of_b]),
            ("a string for a file", form("b", {"image": "text"}), [of_b]),
            ("open end", good[:-8], [of_b]),
            ("no part", b"--b--\r\n", [of_b]),
            ("long header of a part", b"--b\r\nX: " + b"x" * 20_000 + b"\r\n\r\n\r\n--b--\r\n", [of_b]),
            ("headers without end", b"--b\r\n" + b"X: y\r\n" * 5000, [of_b]),
            ("urlencoded", b"image=AAAA", [("Content-Type", "application/x-www-form-urlencoded")]),
            ("mutated", mutated(good[:120], rng) + good[120:], [of_b]),
            ("noise", rng.randbytes(2000), [of_b]),
        )
    )
    # -only: what of a mutated form can still be read is cheap to answer.
    statuses = ANY | {400} if name in ("mutated", "open end") else REFUSED
    return _case(f"form: {name}", maker.post("file/embeddings-only", body, *headers), statuses)


def _sizes(maker: Maker, rng: random.Random) -> Case:
    with_key = [("x-api-key", maker.key), JSON]
    path = f"/v1/{rng.choice(ONE_IMAGE)}"
    declared = {
        "100 MB declared": ("100000000", b"{"),
        "gone half-way": ("5000000", b"{" * rng.randint(0, 9000)),
        "more than declared": ("1", b'{"image": "AAAA"}'),
        "no length": (rng.choice(("-1", "x", "1e3", "99999999999999999999999", "0x10", " ")), b"{}"),
    }
    in_chunks = {"11 MiB in chunks": _chunks(bytes(11 * MIB)), "broken chunks": b"ZZ\r\n{}\r\n0\r\n\r\n"}
    name = rng.choice((*declared, *in_chunks, "just the cap"))
    if name in declared:
        length, body = declared[name]
        sent = head("POST", path, [*with_key, ("Content-Length", length)]) + body
    elif name in in_chunks:
        sent = head("POST", path, [*with_key, ("Transfer-Encoding", "chunked")]) + in_chunks[name]
    else:
        sent = encode("POST", path, with_key, b'{"image": "' + b"A" * (10 * MIB - 13) + b'"}')
    return _case(
        f"size: {name}",
        sent,
        {"100 MB declared": TOO_LARGE, "11 MiB in chunks": TOO_LARGE, "just the cap": CONTENT}.get(name, REFUSED),
        # Of an empty length and the like the server may wait for more; the client won't.
        left=name in ("gone half-way", "no length"),
        may_be_cut=name in in_chunks,
    )


def _chunks(body: bytes) -> bytes:
    pieces = (body[at : at + 65536] for at in range(0, len(body), 65536))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def _base64(maker: Maker, rng: random.Random) -> Case:
    good = base64.b64encode(hostile_pictures.aligned()["JPEG"]).decode()
    name, text = rng.choice(
        (
            ("empty", ""),
            ("garbage", "".join(chr(rng.randint(32, 0x2FFF)) for _ in range(rng.randint(1, 500)))),
            ("blanks", good[:40] + " " + good[40:]),
            ("padding", good + "===="),
            ("no padding", good[: len(good) // 4 * 4 - 1]),
            ("padding inside", good[:40] + "==" + good[40:]),
            ("URL-safe", "_-_-" + good[4:]),
            ("data: of another type", "data:text/html;base64," + good),
            ("data: without base64", "data:image/jpeg," + good),
            ("data: alone", "data:image/jpeg;base64,"),
            ("data: endless", "data:image/" + "x" * 100_000 + ";base64," + good),
            ("URL", "http://127.0.0.1:1/face.jpg"),
            ("path", "/etc/passwd"),
            ("file URL", "file:///etc/passwd"),
        )
    )
    path = rng.choice((*ONE_IMAGE, *ALIGNED))
    return _case(f"base64: {name}", json_post(f"/v1/{path}", maker.key, {"image": text}), CONTENT)


def _picture(maker: Maker, rng: random.Random, picture: Picture, path: str) -> bytes:
    """As JSON or as a form, where the endpoint has both."""
    if path in FORMS and rng.random() < 0.5:
        boundary = rng.randbytes(12).hex()
        body = form(boundary, {"image": picture.data})
        return maker.post(f"file/{path}", body, ("Content-Type", f"multipart/form-data; boundary={boundary}"))
    return json_post(f"/v1/{path}", maker.key, {"image": picture.data})


def _broken(maker: Maker, rng: random.Random) -> Case:
    picture = hostile_pictures.broken(rng)
    path = rng.choice(ONE_IMAGE) if rng.random() < 0.05 else rng.choice(ALIGNED)
    return _case(f"image: {picture.name}", _picture(maker, rng, picture, path), ANY)


def _not_taken(maker: Maker, rng: random.Random) -> Case:
    picture = rng.choice(hostile_pictures.not_taken())
    return _case(f"image: {picture.name}", _picture(maker, rng, picture, rng.choice((*ONE_IMAGE, *ALIGNED))), CONTENT)


def _odd(maker: Maker, rng: random.Random) -> Case:
    picture = rng.choice(hostile_pictures.odd())
    detects = rng.random() < 0.3
    path = rng.choice(ONE_IMAGE if detects else ALIGNED)
    # 200 x 200 is no aligned crop.
    return _case(
        f"image: {picture.name}", _picture(maker, rng, picture, path), frozenset({200}) if detects else CONTENT
    )


def _oversized(maker: Maker, rng: random.Random) -> Case:
    picture = rng.choice(hostile_pictures.oversized())
    path = rng.choice((*ONE_IMAGE, *ALIGNED, *ALIGNED))
    statuses = CONTENT if picture.readable is False else ANY
    return _case(f"image: {picture.name}", _picture(maker, rng, picture, path), statuses)


def _contents(maker: Maker, rng: random.Random) -> Case:
    picture = rng.choice(hostile_pictures.contents())
    return _case(
        f"content: {picture.name}", _picture(maker, rng, picture, rng.choice(("detect", "feature"))), frozenset({200})
    )


def _features(maker: Maker, rng: random.Random) -> Case:
    good = base64.b64decode(maker.feature)
    header, vector = good[:24], good[24:-4]
    signed: Callable[[bytes], bytes] = lambda body: body + struct.pack("<I", zlib.crc32(body))  # noqa: E731
    name, data = rng.choice(
        (
            ("empty", b""),
            ("short", good[: rng.randrange(len(good))]),
            ("long", good + b"x"),
            ("wrong checksum", good[:-1] + bytes([good[-1] ^ 1])),
            ("other model's", signed(header[:8] + rng.randbytes(16) + vector)),
            ("other version", signed(header[:4] + b"\2" + header[5:] + vector)),
            ("other elements", signed(header[:5] + b"\2" + header[6:] + vector)),
            ("other dimension", signed(header[:6] + struct.pack("<H", 64) + header[8:] + vector[:256])),
            ("no dimension", signed(header[:6] + bytes(2) + header[8:])),
            ("NaN", signed(header + struct.pack("<f", float("nan")) + vector[4:])),
            ("infinite", signed(header + struct.pack("<f", float("inf")) + vector[4:])),
            ("zero", signed(header + bytes(len(vector)))),
            ("mutated", mutated(good, rng)),
            ("a picture", hostile_pictures.aligned()["PNG"]),
            ("5 MB", bytes(5_000_000) if rng.random() < 0.2 else bytes(50_000)),
        )
    )
    texts = [maker.feature, base64.b64encode(data).decode()]
    rng.shuffle(texts)
    fields = {"feature1": texts[0], "feature2": texts[1]}
    return _case(f"feature: {name}", json_post("/v1/feature-score", maker.key, fields), CONTENT)


def _parameters(maker: Maker, rng: random.Random) -> Case:
    field, value = rng.choice(
        (
            ("maxResults", rng.choice((0, -1, 751, 10**9, 1.5, "7", None, True, [], {}, 10**400))),
            ("detectSortType", rng.choice((-1, 4, 9, 0.5, "0", None, False))),
            ("seq", rng.choice(("1", 0.5, None, [], {"a": 1}))),
        )
    )
    fields: dict[str, Any] = {"image": hostile_pictures.aligned()["JPEG"], field: value}
    return _case(f"parameter: {field} {str(value)[:20]}", json_post("/v1/detect", maker.key, fields), CONTENT)


def _paths(maker: Maker, rng: random.Random) -> Case:
    path = rng.choice(
        (
            "/v1/../v1/detect",
            "/v1/detect/",
            "//v1/detect",
            "/v1/detect%00",
            "/v1/%2e%2e/",
            "/" + "x" * 4000,
            "/v1/DETECT",
        )
    )
    method = rng.choice(("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "POST", "BREW"))
    if rng.random() < 0.3:
        path = "/v1/detect"
        method = "PUT"
    return _case(f"path: {method}", encode(method, path, [("x-api-key", maker.key)], b"{}"), frozenset({400, 404, 405}))


# How often each kind comes, in thousandths. What reaches the detector costs a tenth of a second of a core.
KINDS: tuple[tuple[int, Callable[[Maker, random.Random], Case]], ...] = (
    (120, _keys),
    (120, _json),
    (90, _envelopes),
    (30, _sizes),
    (110, _base64),
    (205, _broken),
    (90, _not_taken),
    (50, _odd),
    (30, _oversized),
    (20, _contents),
    (70, _features),
    (45, _parameters),
    (20, _paths),
)
