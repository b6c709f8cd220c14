import hashlib
import hmac

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from api.keys import LONGEST_BYTES, read_keys

VARIABLE = "FACEBENTO_API_KEYS"


def hashed(key: str) -> str:
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


@pytest.mark.parametrize(
    ("entry", "key", "name"),
    [
        ("plain", b"plain", "key1"),
        ("  plain\t", b"plain", "key1"),
        ("alice=plain", b"plain", "alice"),
        ("team-a.prod_2=plain", b"plain", "team-a.prod_2"),
        (hashed("plain"), b"plain", "key1"),
        (hashed("plain").upper().replace("SHA256", "sha256"), b"plain", "key1"),
        (f"alice={hashed('plain')}", b"plain", "alice"),
        ("QUJDRA==", b"QUJDRA==", "key1"),
        ("QUJDREU=", b"QUJDREU=", "key1"),
        ("alice=QUJDRA==", b"QUJDRA==", "alice"),
        ("alice=a=b", b"a=b", "alice"),
        ("no name=", None, None),
        ("-x=y", b"-x=y", "key1"),
        ("!\"#$%&'()*+/:;<>?@[]^`{|}~", b"!\"#$%&'()*+/:;<>?@[]^`{|}~", "key1"),
        ("a" * LONGEST_BYTES, b"a" * LONGEST_BYTES, "key1"),
    ],
)
def test_each_way_to_write_a_key_down(entry: str, key: bytes | None, name: str | None) -> None:
    if key is None:
        with pytest.raises(ValueError, match="without spaces"):
            read_keys([(VARIABLE, [entry])])
        return
    assert read_keys([(VARIABLE, [entry])]).name_of(key) == name


def test_a_base64_padding_is_no_name() -> None:
    keys = read_keys([(VARIABLE, ["QUJDRA=="])])
    for wrong in (b"=", b"QUJDRA", b"QUJDRA=", b""):
        assert keys.name_of(wrong) is None


def test_the_name_and_the_hash_are_no_keys() -> None:
    keys = read_keys([(VARIABLE, ["alice=one", hashed("two")])])
    for wrong in ("alice", "alice=one", hashed("two"), hashed("two").removeprefix("sha256:")):
        assert keys.name_of(wrong.encode()) is None


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"wron",
        b"wrong ",
        b" secret",
        b"SECRET",
        b"secret\0",
        "sécret".encode(),
        b"\xff" * 20,
        b"secret" * 2,
        b"x" * 10_000,
        b"secret,other",
    ],
)
def test_any_other_key_is_not_accepted(wrong: bytes) -> None:
    assert read_keys([(VARIABLE, ["secret", "other"])]).name_of(wrong) is None


def test_what_lies_beyond_the_longest_key_counts() -> None:
    keys = read_keys([(VARIABLE, ["a" * LONGEST_BYTES])])
    assert keys.name_of(b"a" * LONGEST_BYTES) is not None
    assert keys.name_of(b"a" * (LONGEST_BYTES + 1)) is None


def test_keys_are_numbered_by_their_place_over_all_sources() -> None:
    keys = read_keys([(VARIABLE, ["one", "", " ", "bob=two"]), (f"{VARIABLE}_FILE", ["three"])])
    assert len(keys) == 3
    assert [keys.name_of(key) for key in (b"one", b"two", b"three")] == ["key1", "bob", "key3"]


def test_nothing_written_down_is_no_key() -> None:
    keys = read_keys([(VARIABLE, ["", "  "])])
    assert len(keys) == 0
    assert keys.name_of(b"") is None


@pytest.mark.parametrize("key", [b"one", b"three", b"wrong", b"", b"x" * 10_000])
def test_every_digest_is_compared_whichever_key_it_is(key: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    honest = hmac.compare_digest

    def counting(accepted: bytes, digest: bytes) -> bool:
        compared.append(accepted)
        return honest(accepted, digest)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    read_keys([(VARIABLE, ["one", "two", "three"])]).name_of(key)
    assert len(set(compared)) == 3


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("two words", "key2 must be printable ASCII without spaces"),
        ("schlüssel", "key2 must be printable ASCII"),
        ("bell\x07", "key2 must be printable ASCII"),
        ("a" * (LONGEST_BYTES + 1), "1024 characters at most"),
        ("sha256:", "sha256: in key2 must be 64 hexadecimal digits"),
        ("sha256:" + "g" * 64, "sha256: in key2 must be 64 hexadecimal digits"),
        ("sha256:" + "a" * 63, "sha256: in key2 must be 64 hexadecimal digits"),
        ("alice=sha256:abc", "sha256: in key2 must be 64 hexadecimal digits"),
    ],
)
def test_a_key_that_no_header_can_carry_is_told_by_its_place(entry: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as told:
        read_keys([(VARIABLE, ["first", entry])])
    assert str(told.value).startswith(f"{VARIABLE}: ")
    for part in ("first", "words", "schl", "bell", "aaa", "ggg", "abc"):
        assert part not in str(told.value)


TEXTS = (
    st.text() | st.text(st.sampled_from("ab01=:, .-_\n\0é")) | st.from_regex(r"[a-z.]{0,9}=?(sha256:)?[0-9a-f]{0,70}=*")
)


@given(st.lists(TEXTS))
def test_any_texts_are_keys_or_told_without_them(texts: list[str]) -> None:
    try:
        keys = read_keys([(VARIABLE, texts)])
    except ValueError as error:
        told = str(error)
    else:
        assert keys.name_of(b"") is None
        assert len(keys) <= len(texts)
        assert all(text.strip().isascii() and text.strip().isprintable() for text in texts)
        return
    assert told.startswith(VARIABLE)
    assert not [text for text in texts if len(text) > 20 and text in told]


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_any_key_that_a_header_can_carry_is_one_when_named(key: str) -> None:
    assume(key.strip("=") and not key.startswith("sha256:"))
    assert read_keys([(VARIABLE, [f"alice={key}"])]).name_of(key.encode()) == "alice"
