"""What runs when a runner reads what it is sent: nothing but the reading."""

import asyncio
import os
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from _bentoml_impl.serde import ALL_SERDE, PickleSerde
from bentoml.exceptions import InvalidArgument
from numpy.typing import NDArray

from models import store
from runners.base import RunnerOptions
from runners.detector import detector_runner
from runners.embedder import embedder_runner
from runners.wire import NEEDED, read_rows, rows_of

MEDIA_TYPE = "application/vnd.bentoml+pickle"
SHAPE = (2, 4, 3)


def sent(rows: Any) -> tuple[bytes, str]:
    """The body of a call, and the lengths of its parts, as BentoML's caller makes them."""
    serde = PickleSerde()
    right = isinstance(rows, np.ndarray) and rows.dtype == np.uint8
    payload = (
        serde.serialize_model(rows_of(*SHAPE).from_inputs(rows)) if right else serde.serialize_value({"rows": rows})
    )
    return b"".join(payload.data), payload.metadata["buffer-lengths"]


def pictures(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, *SHAPE), np.uint8)


@pytest.mark.parametrize("count", [1, 2, 17])
def test_rows_arrive_as_they_were_sent(count: int) -> None:
    assert np.array_equal(read_rows(*sent(pictures(count)), SHAPE), pictures(count))


def test_rows_of_any_layout_arrive_as_they_were_sent() -> None:
    whole = pictures(8)
    frozen = whole.copy()
    frozen.flags.writeable = False
    for rows in (whole[::2], np.asfortranarray(whole), frozen, whole[::-1]):
        assert np.array_equal(read_rows(*sent(rows), SHAPE), rows)


def test_rows_are_not_copied() -> None:
    body, lengths = sent(pictures(3))
    assert np.shares_memory(read_rows(body, lengths, SHAPE), np.frombuffer(body, np.uint8))


class Touch:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return os.mknod, (str(self._path),)


@pytest.fixture
def bomb(tmp_path: Path) -> tuple[bytes, Path]:
    return pickle.dumps({"rows": Touch(tmp_path / "touched")}), tmp_path / "touched"


def test_a_pickle_that_runs_code_is_refused(bomb: tuple[bytes, Path]) -> None:
    body, touched = bomb
    with pytest.raises(InvalidArgument):
        read_rows(body, f"{len(body)},0", SHAPE)
    assert not touched.exists()
    pickle.loads(body)  # noqa: S301  so does it do what it says
    assert touched.exists()


@pytest.mark.parametrize("make", [detector_runner, embedder_runner])
@pytest.mark.parametrize("media_type", [MEDIA_TYPE, "application/json", "multipart/form-data", f"{MEDIA_TYPE};a=b"])
def test_no_method_of_a_runner_unpickles_what_it_is_sent(make: Any, media_type: str, bomb: tuple[bytes, Path]) -> None:
    body, touched = bomb
    stored = store.find("centerface" if make is detector_runner else "dlib-resnet-v1")
    runner = make(stored, RunnerOptions(device="cpu", threads=1, max_batch=4, deadline_s=30))
    assert {"placement"} < set(runner.apis)

    async def read() -> bytes:
        return body

    for headers in ({"buffer-lengths": str(len(body))}, {"buffer-lengths": f"{len(body)},0"}, {}):
        request = SimpleNamespace(headers={"content-type": media_type} | headers, body=read)
        for method in runner.apis.values():
            serde = ALL_SERDE.get(media_type, ALL_SERDE[MEDIA_TYPE])()
            if method.batchable:
                with pytest.raises(InvalidArgument):
                    asyncio.run(method.input_spec.from_http_request(request, serde))
            else:
                asyncio.run(method.input_spec.from_http_request(request, serde))
            assert not touched.exists()


def test_a_call_leaves_nothing_behind_for_the_calls_that_follow() -> None:
    """A pickle may set attributes of what it names."""
    attributes = b"N}\x8c\x04left\x8c\x06behinds\x86b."
    for name in (b"\x8c\x05numpy\x8c\x05dtype", b"\x8c\x13numpy._core.numeric\x8c\x0b_frombuffer"):
        head = b"\x80\x05" + name + b"\x93" + attributes
        with pytest.raises(InvalidArgument):
            read_rows(head, f"{len(head)},0", SHAPE)
        assert not any(hasattr(each, "left") for each in NEEDED.values())


WRONG: dict[str, Any] = {
    "another shape": np.zeros((1, 4, 2, 3), np.uint8),
    "a row alone": np.zeros(SHAPE, np.uint8),
    "more dimensions": np.zeros((1, 1, *SHAPE), np.uint8),
    "no row": np.zeros((0, *SHAPE), np.uint8),
    "signed bytes": np.zeros((1, *SHAPE), np.int8),
    "floats": np.zeros((1, *SHAPE), np.float32),
    "objects": np.full((1, *SHAPE), None),
    "a list": [[[[0] * 3] * 4] * 2],
    "text": "rows",
    "nothing": None,
}


@pytest.mark.parametrize("rows", WRONG.values(), ids=WRONG)
def test_anything_but_rows_of_that_shape_is_refused(rows: Any) -> None:
    with pytest.raises(InvalidArgument):
        read_rows(*sent(rows), SHAPE)


def test_damaged_calls_are_refused_or_read_as_rows() -> None:
    body, lengths = sent(pictures(1))
    random = np.random.default_rng(0)
    for _ in range(2000):
        damaged = bytearray(body)
        for place in random.integers(0, len(body), 3):
            damaged[place] = random.integers(256)
        try:
            rows = read_rows(bytes(damaged[: random.integers(1, len(body) + 1)]), lengths, SHAPE)
        except InvalidArgument:
            continue
        assert rows.dtype == np.uint8
        assert rows.shape[1:] == SHAPE


@pytest.mark.parametrize("lengths", ["", "a", "1", "1,2,3", "-1,-1", "0,0", "9" * 5000 + ",1", "\u0661,1", "nan,inf"])
def test_wrong_lengths_are_refused(lengths: str) -> None:
    with pytest.raises(InvalidArgument):
        read_rows(sent(pictures(1))[0], lengths, SHAPE)
