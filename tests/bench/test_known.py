"""What passes for a right answer."""

import base64
import json
import struct
from typing import Any

import pytest

from bench.client import Answer
from bench.known import Known


def feature(last: float) -> str:
    return base64.b64encode(bytes(24) + struct.pack("<3f", 0.5, 0.5, last) + b"crc.").decode()


RIGHT: dict[str, Any] = {
    "version": "1",
    "processed": True,
    "box": {"left": 100, "right": 200},
    "embeddings": [0.1, -0.2],
    "feature": feature(0.7),
}


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({}, False),
        ({"embeddings": [0.1001, -0.2001], "box": {"left": 101, "right": 200}, "feature": feature(0.7001)}, False),
        ({"box": {"left": 110, "right": 200}}, True),
        ({"box": {"left": 100}}, True),
        ({"embeddings": [0.1, -0.25]}, True),
        ({"embeddings": [0.1]}, True),
        ({"processed": False}, True),
        ({"version": "2"}, True),
        ({"feature": feature(0.6)}, True),
        ({"feature": ""}, True),
        ({"more": 1}, True),
    ],
)
def test_an_answer_is_right_but_for_rounding(change: dict[str, Any], wrong: bool) -> None:
    known = Known("x", b"", RIGHT)
    assert known.wrong(Answer(200, body=json.dumps({**RIGHT, **change}).encode())) is wrong


def test_what_is_no_200_is_no_wrong_answer() -> None:
    assert not Known("x", b"", RIGHT).wrong(Answer(429, body=b"{}"))
