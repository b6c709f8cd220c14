import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import Base64Error
from api.payload import Payload, decode_base64

DATA = bytes(range(256)) * 3 + b"\xfb\xff\xfe"
TEXT = base64.b64encode(DATA).decode()
URL = TEXT.replace("+", "-").replace("/", "_")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", b""),
        ("QQ==", b"A"),
        ("QUI=", b"AB"),
        ("QUJD", b"ABC"),
        (TEXT, DATA),
        (re.sub("(.{76})", "\\1\r\n", TEXT), DATA),
        (re.sub("(.{64})", "\\1\n", TEXT) + "\n", DATA),
        ("data:image/png;base64," + TEXT, DATA),
        ("data:image/jpeg;base64,\n" + TEXT, DATA),
        ("DATA:IMAGE/SVG+XML;Base64,QUJD", b"ABC"),
        ("data:image/png;name=a.png;charset=x;base64,QUJD", b"ABC"),
    ],
)
def test_base64_is_read_with_line_breaks_and_a_prefix(text: str, expected: bytes) -> None:
    assert decode_base64(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "garbage!",
        "Q",
        "QQ",
        "QQ=",
        "QQ===",
        "QUJD====",
        "QUJD=",
        "=QUJ",
        "QQ==QQ==",
        "QU JD",
        " QUJD",
        "QUJD ",
        "QUJD\t",
        "QUJD\0",
        "QUJDé===",
        "ＱＵＪＤ",  # noqa: RUF001  fullwidth letters
        URL,
        "-_-_",
        "https://example.com/face.jpg",
        "file:///etc/passwd",
        "/etc/passwd",
        "../face",
        "data:text/plain;base64,QUJD",
        "data:application/octet-stream;base64,QUJD",
        "data:image/png,QUJD",
        "data:image/png;base64,data:image/png;base64,QUJD",
        "data:;base64,QUJD",
        "data:image/" + "x" * 100 + ";base64,QUJD",
        "QUJDdata:image/png;base64,QUJD",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(Base64Error, match="not base64"):
        decode_base64(text)


@given(
    st.binary(), st.sampled_from(["\n", "\r\n"]), st.integers(1, 100), st.sampled_from(["", "data:image/x;a=b;base64,"])
)
def test_what_was_encoded_comes_back(data: bytes, line: str, width: int, prefix: str) -> None:
    digits = base64.b64encode(data).decode()
    text = prefix + line.join(digits[at : at + width] for at in range(0, len(digits), width))
    assert decode_base64(text) == data


# Texts that are nearly base64, and any others.
NEARLY = st.tuples(
    st.binary(max_size=6).map(lambda data: base64.b64encode(data).decode()),
    st.sampled_from(["", "=", "==", "====", "A", " "]),
)
TEXTS = NEARLY.map("".join) | st.text(st.sampled_from("AQgw09+/=\r\n -_,:;")) | st.text()


@given(TEXTS, st.sampled_from(["", "data:image/png;base64,", "data:image/;base64,", "data:image/png;", "base64,"]))
def test_any_text_is_what_the_reference_reads_or_refused(text: str, prefix: str) -> None:
    right = prefix in ("", "data:image/png;base64,")
    try:
        # Python's own, strict as to the alphabet; what it lets pass besides is not what it would write.
        digits = text.replace("\r", "").replace("\n", "")
        expected = base64.b64decode(digits, validate=True)
        right = right and base64.b64encode(expected)[:-4] == digits.encode()[:-4] and len(digits) % 4 == 0
        right = right and digits.count("=") <= 2
    except ValueError:
        right = False
    if right:
        assert decode_base64(prefix + text) == expected
    else:
        with pytest.raises(Base64Error):
            decode_base64(prefix + text)


def test_the_refusal_holds_nothing_of_the_text() -> None:
    with pytest.raises(Base64Error) as told:
        decode_base64("/etc/passwd")
    assert "passwd" not in str(told.value)


def test_a_long_text_that_is_nearly_a_prefix_is_refused_quickly() -> None:
    with pytest.raises(Base64Error):
        decode_base64("data:image/png" + ";a" * 1_000_000)


def test_a_payload_of_text_is_decoded_as_it_is_read_and_blames_its_field() -> None:
    assert Payload("image", "QUJD").read() == b"ABC"
    broken = Payload("image2", "???")
    with pytest.raises(Base64Error) as told:
        broken.read()
    assert told.value.field == "image2"


def test_a_payload_of_bytes_is_taken_as_it_is() -> None:
    assert Payload("image", b"QUJD").read() == b"QUJD"
