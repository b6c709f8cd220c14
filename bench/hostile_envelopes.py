"""Bad keys, JSON, forms, sizes and paths: what is wrong before a picture is looked at."""

import json
import random
from functools import cache

from bench import hostile_pictures
from bench.cases import ALIGNED, ANY, CONTENT, FORMS, JSON, ONE_IMAGE, REFUSED, TOO_LARGE, Case, Sender
from bench.client import encode, form, head
from bench.hostile_pictures import mutated

MIB = 2**20


def _path(rng: random.Random) -> str:
    return rng.choice((*ONE_IMAGE, *ALIGNED, "score", "feature-score", *(f"file/{name}" for name in FORMS)))


def keys(sender: Sender, rng: random.Random) -> Case:
    key = sender.key
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
    return Case(f"key: {name}", encode("POST", f"/v1/{_path(rng)}{query}", [*headers, JSON], body), statuses)


@cache
def _unreadable_json() -> tuple[tuple[str, bytes], ...]:
    return (
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
    )


def envelopes_of_json(sender: Sender, rng: random.Random) -> Case:
    name, body = rng.choice(
        (
            *_unreadable_json(),
            ("noise", rng.randbytes(rng.randint(1, 3000))),
            ("mutated", mutated(json.dumps({"image": "AAAA", "maxResults": 1}).encode(), rng)),
        )
    )
    kind = rng.choice((JSON, JSON, ("Content-Type", "text/plain"), ("Content-Type", "application/json; charset=utf-7")))
    path = rng.choice((*ONE_IMAGE, *ALIGNED, "score", "feature-score"))
    return Case(f"json: {name}", sender.post(path, body, kind), CONTENT)


def forms(sender: Sender, rng: random.Random) -> Case:
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
    return Case(f"form: {name}", sender.post("file/embeddings-only", body, *headers), statuses)


def sizes(sender: Sender, rng: random.Random) -> Case:
    with_key = [("x-api-key", sender.key), JSON]
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
    return Case(
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


def paths(sender: Sender, rng: random.Random) -> Case:
    path = rng.choice(
        (
            "/v1/../v1/detect",
            "/v1/detect/",
            "//v1/detect",
            "/v1/detect%00",
            "/v1/%2e%2e/",
            "/" + "x" * 4000,
            "/v1/DETECT",
            f"/v1/{rng.randbytes(6).hex()}",
            f"/{rng.randbytes(6).hex()}.php",
        )
    )
    method = rng.choice(("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "POST", "BREW"))
    if rng.random() < 0.3:
        path = "/v1/detect"
        method = "PUT"
    return Case(f"path: {method}", encode(method, path, [("x-api-key", sender.key)], b"{}"), frozenset({400, 404, 405}))
