"""Bad base64, pictures, features and parameters, in an envelope that can be read."""

import base64
import random
import struct
import zlib
from typing import Any

from bench import hostile_pictures
from bench.cases import ALIGNED, ANY, CONTENT, FORMS, ONE_IMAGE, Case, Sender
from bench.client import form, json_post
from bench.hostile_pictures import Picture, mutated


def base64_texts(sender: Sender, rng: random.Random) -> Case:
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
    return Case(f"base64: {name}", json_post(f"/v1/{path}", sender.key, {"image": text}), CONTENT)


def _picture(sender: Sender, rng: random.Random, picture: Picture, path: str) -> bytes:
    """As JSON or as a form, where the endpoint has both."""
    if path in FORMS and rng.random() < 0.5:
        boundary = rng.randbytes(12).hex()
        body = form(boundary, {"image": picture.data})
        return sender.post(f"file/{path}", body, ("Content-Type", f"multipart/form-data; boundary={boundary}"))
    return json_post(f"/v1/{path}", sender.key, {"image": picture.data})


def broken_pictures(sender: Sender, rng: random.Random) -> Case:
    picture = hostile_pictures.broken(rng)
    path = rng.choice(ONE_IMAGE) if rng.random() < 0.05 else rng.choice(ALIGNED)
    return Case(f"image: {picture.name}", _picture(sender, rng, picture, path), ANY)


def pictures_not_taken(sender: Sender, rng: random.Random) -> Case:
    picture = rng.choice(hostile_pictures.not_taken())
    return Case(f"image: {picture.name}", _picture(sender, rng, picture, rng.choice((*ONE_IMAGE, *ALIGNED))), CONTENT)


def odd_pictures(sender: Sender, rng: random.Random) -> Case:
    picture = rng.choice(hostile_pictures.odd())
    detects = rng.random() < 0.3
    path = rng.choice(ONE_IMAGE if detects else ALIGNED)
    # 200 x 200 is no aligned crop.
    return Case(
        f"image: {picture.name}", _picture(sender, rng, picture, path), frozenset({200}) if detects else CONTENT
    )


def oversized_pictures(sender: Sender, rng: random.Random) -> Case:
    picture = rng.choice(hostile_pictures.oversized())
    path = rng.choice((*ONE_IMAGE, *ALIGNED, *ALIGNED))
    statuses = CONTENT if picture.readable is False else ANY
    return Case(f"image: {picture.name}", _picture(sender, rng, picture, path), statuses)


def strange_contents(sender: Sender, rng: random.Random) -> Case:
    picture = rng.choice(hostile_pictures.contents())
    return Case(
        f"content: {picture.name}", _picture(sender, rng, picture, rng.choice(("detect", "feature"))), frozenset({200})
    )


def features(sender: Sender, rng: random.Random) -> Case:
    good = base64.b64decode(sender.feature)
    header, vector = good[:24], good[24:-4]
    name, data = rng.choice(
        (
            ("empty", b""),
            ("short", good[: rng.randrange(len(good))]),
            ("long", good + b"x"),
            ("wrong checksum", good[:-1] + bytes([good[-1] ^ 1])),
            ("other model's", _signed(header[:8] + rng.randbytes(16) + vector)),
            ("other version", _signed(header[:4] + b"\2" + header[5:] + vector)),
            ("other elements", _signed(header[:5] + b"\2" + header[6:] + vector)),
            ("other dimension", _signed(header[:6] + struct.pack("<H", 64) + header[8:] + vector[:256])),
            ("no dimension", _signed(header[:6] + bytes(2) + header[8:])),
            ("NaN", _signed(header + struct.pack("<f", float("nan")) + vector[4:])),
            ("infinite", _signed(header + struct.pack("<f", float("inf")) + vector[4:])),
            ("zero", _signed(header + bytes(len(vector)))),
            ("mutated", mutated(good, rng)),
            ("a picture", hostile_pictures.aligned()["PNG"]),
            ("5 MB", bytes(5_000_000) if rng.random() < 0.2 else bytes(50_000)),
        )
    )
    texts = [sender.feature, base64.b64encode(data).decode()]
    rng.shuffle(texts)
    fields = {"feature1": texts[0], "feature2": texts[1]}
    return Case(f"feature: {name}", json_post("/v1/feature-score", sender.key, fields), CONTENT)


def parameters(sender: Sender, rng: random.Random) -> Case:
    field, value = rng.choice(
        (
            ("maxResults", rng.choice((0, -1, 751, 10**9, 1.5, "7", None, True, [], {}, 10**400))),
            ("detectSortType", rng.choice((-1, 4, 9, 0.5, "0", None, False))),
            ("seq", rng.choice(("1", 0.5, None, [], {"a": 1}))),
        )
    )
    fields: dict[str, Any] = {"image": hostile_pictures.aligned()["JPEG"], field: value}
    return Case(f"parameter: {field} {str(value)[:20]}", json_post("/v1/detect", sender.key, fields), CONTENT)


def _signed(body: bytes) -> bytes:
    """With the checksum that makes a feature of it."""
    return body + struct.pack("<I", zlib.crc32(body))
