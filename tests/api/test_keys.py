import asyncio
import datetime as dt
import hashlib
import hmac
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from api.keys import LONGEST_BYTES, Key, KeyRing, Keys, read_keys

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
    found = read_keys([(VARIABLE, [entry])]).find(key)
    assert found is not None
    assert found.name == name


def test_a_base64_padding_is_no_name() -> None:
    keys = read_keys([(VARIABLE, ["QUJDRA=="])])
    for wrong in (b"=", b"QUJDRA", b"QUJDRA=", b""):
        assert keys.find(wrong) is None


def test_the_name_and_the_hash_are_no_keys() -> None:
    keys = read_keys([(VARIABLE, ["alice=one", hashed("two")])])
    for wrong in ("alice", "alice=one", hashed("two"), hashed("two").removeprefix("sha256:")):
        assert keys.find(wrong.encode()) is None


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
    assert read_keys([(VARIABLE, ["secret", "other"])]).find(wrong) is None


def test_what_lies_beyond_the_longest_key_counts() -> None:
    keys = read_keys([(VARIABLE, ["a" * LONGEST_BYTES])])
    assert keys.find(b"a" * LONGEST_BYTES) is not None
    assert keys.find(b"a" * (LONGEST_BYTES + 1)) is None


def test_keys_are_numbered_by_their_place_over_all_sources() -> None:
    keys = read_keys([(VARIABLE, ["one", "", " ", "bob=two"]), (f"{VARIABLE}_FILE", ["three"])])
    assert len(keys) == 3
    assert [key.name for each in (b"one", b"two", b"three") if (key := keys.find(each))] == ["key1", "bob", "key3"]


def test_nothing_written_down_is_no_key() -> None:
    keys = read_keys([(VARIABLE, ["", "  "])])
    assert len(keys) == 0
    assert keys.find(b"") is None


@pytest.mark.parametrize("key", [b"one", b"three", b"wrong", b"", b"x" * 10_000])
def test_every_digest_is_compared_whichever_key_it_is(key: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    honest = hmac.compare_digest

    def counting(accepted: bytes, digest: bytes) -> bool:
        compared.append(accepted)
        return honest(accepted, digest)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    read_keys([(VARIABLE, ["one", "two", "three"])]).find(key)
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


@pytest.mark.parametrize("before", ["plain", "alice=plain", "alice=QUJDRA==", hashed("plain")])
@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2027-01-31", dt.datetime(2027, 1, 31, tzinfo=dt.UTC)),
        ("2027-01-31T18:00Z", dt.datetime(2027, 1, 31, 18, tzinfo=dt.UTC)),
        ("2027-01-31T18:00:00+09:00", dt.datetime(2027, 1, 31, 9, tzinfo=dt.UTC)),
    ],
)
def test_a_key_may_end(before: str, written: str, moment: dt.datetime) -> None:
    assert f"(until {moment:%Y-%m-%dT%H:%MZ})" in read_keys([(VARIABLE, [f"{before} expires={written}"])]).describe()
    key = b"QUJDRA==" if "QUJ" in before else b"plain"
    found = read_keys([(VARIABLE, [f"{before}  expires={written}"])]).find(key)
    assert found is not None
    assert (found.name, found.expires) == ("alice" if "alice" in before else "key1", moment)


def test_a_key_counts_until_it_ends_and_is_still_known_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = dt.datetime(2027, 1, 30, 23, 59, 59, tzinfo=dt.UTC)

    class Clock(dt.datetime):
        @classmethod
        def now(cls, _: dt.tzinfo | None = None) -> "Clock":
            return cls.fromtimestamp(now.timestamp(), dt.UTC)

    monkeypatch.setattr("api.keys.dt.datetime", Clock)
    keys = read_keys([(VARIABLE, ["old=a expires=2027-01-31", "new=b"])])
    assert [key.name for key in keys.live] == ["old", "new"]
    now = dt.datetime(2027, 1, 31, tzinfo=dt.UTC)
    found = keys.find(b"a")
    assert found is not None
    assert found.expired
    assert [key.name for key in keys.live] == ["new"]
    assert keys.describe() == "new, old (expired)"


@pytest.mark.parametrize("written", ["", "tomorrow", "31.01.2027", "hush-hush"])
def test_an_end_that_is_no_date_is_told_without_what_was_written(written: str) -> None:
    with pytest.raises(ValueError, match=r"key1|printable") as told:
        read_keys([(VARIABLE, [f"a=hush expires={written}"])])
    assert "hush" not in str(told.value)


class File:
    """A key file, and the ring that follows it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write("alice=one")
        self.ring = KeyRing(self._read)

    def _read(self) -> Keys:
        try:
            return read_keys([(VARIABLE, self.path.read_text(encoding="utf-8").splitlines())])
        except OSError:
            raise ValueError("the file can't be read") from None

    def write(self, text: str) -> None:
        # As Kubernetes and careful editors do: a new file in place of the old one.
        new = self.path.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        new.replace(self.path)

    def names(self) -> list[str]:
        return [key.name for key in self.ring().live]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> File:
    monkeypatch.setattr("api.keys.RELOAD_S", 0.01)
    return File(tmp_path / "keys")


def following(file: File, scenario: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        watch = asyncio.create_task(file.ring.watch(file.path))
        try:
            async with asyncio.timeout(10):
                await scenario()
        finally:
            watch.cancel()

    asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  there is no event to wait for
        await asyncio.sleep(0.01)


def test_a_changed_file_counts_without_a_restart(file: File, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def scenario() -> None:
        file.write("alice=one\nbob=hush")
        await until(lambda: file.names() == ["alice", "bob"])
        assert file.ring().find(b"hush") is not None
        file.write("bob=hush")
        await until(lambda: file.names() == ["bob"])
        assert file.ring().find(b"one") is None
        file.write("")  # which locks everybody out, as it says
        await until(lambda: file.names() == [])
        await until(lambda: "WARNING" in caplog.text)

    following(file, scenario)
    assert "the keys in use now: alice, bob" in caplog.text
    assert "hush" not in caplog.text


def test_where_the_file_can_not_be_read_the_keys_before_stay(file: File, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        file.write("alice=one\ntwo words")
        await until(lambda: "must be printable ASCII" in caplog.text)
        assert file.names() == ["alice"]
        file.path.unlink()
        await until(lambda: "can't be read" in caplog.text)
        assert file.names() == ["alice"]
        file.write("carol=three")
        await until(lambda: file.names() == ["carol"])

    following(file, scenario)
    assert caplog.text.count("the keys stay as they were") == 2
    assert "words" not in caplog.text


def test_a_failure_to_read_is_no_reason_to_stay_with_the_old_keys(
    file: File, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever failed: the file need not change again for its keys to count."""
    honest = file._read
    failures = iter([ValueError("no file handle is left"), RuntimeError("can't start a thread")])

    def read() -> Keys:
        if failure := next(failures, None):
            raise failure
        return honest()

    async def scenario() -> None:
        file.write("bob=two")
        monkeypatch.setattr(file.ring, "_read", read)
        await until(lambda: file.names() == ["bob"])

    following(file, scenario)
    assert caplog.text.count("the keys stay as they were") == 2


def test_a_file_that_is_still_being_written_is_not_taken_yet(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    states = iter([(0, 0, 0, 0), (1, 0, 0, 0), (2, 0, 0, 0), (3, 0, 0, 0)])  # another at each look, then the last
    last = (4, 0, 0, 0)
    looks = 0

    def state(_: Path) -> tuple[int, int, int, int]:
        nonlocal looks
        looks += 1
        return next(states, last)

    reads: list[int] = []
    honest = file._read

    def read() -> Keys:
        reads.append(looks)
        return honest()

    file.ring._read = read
    monkeypatch.setattr("api.keys._state", state)

    async def scenario() -> None:
        await until(lambda: looks > 10)

    following(file, scenario)
    assert reads == [6]


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
        assert keys.find(b"") is None
        assert len(keys) <= len(texts)
        assert all(text.strip().isascii() and text.strip().isprintable() for text in texts)
        return
    assert told.startswith(VARIABLE)
    assert not [text for text in texts if len(text) > 20 and text in told]


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_any_key_that_a_header_can_carry_is_one_when_named(key: str) -> None:
    assume(key.strip("=") and not key.startswith("sha256:"))
    assert read_keys([(VARIABLE, [f"alice={key}"])]).find(key.encode()) == Key("alice")
