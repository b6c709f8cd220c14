"""What runs when a runner reads what it is sent: nothing but the reading."""

import asyncio
import os
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from _bentoml_impl.serde import ALL_SERDE
from bentoml.exceptions import BentoMLException, InvalidArgument
from numpy.typing import NDArray

from models import store
from runners.base import RunnerOptions
from runners.detector import detector_runner
from runners.embedder import embedder_runner
from runners.wire import read_answers, read_rows, write_answers, write_rows

MEDIA_TYPE = "application/vnd.bentoml+pickle"
SHAPE = (2, 4, 3)


def pictures(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, *SHAPE), np.uint8)


@pytest.mark.parametrize("count", [1, 2, 17])
def test_rows_arrive_as_they_were_sent(count: int) -> None:
    assert np.array_equal(read_rows(bytes(write_rows(pictures(count))), SHAPE), pictures(count))


def test_rows_of_any_layout_arrive_as_they_were_sent() -> None:
    whole = pictures(8)
    frozen = whole.copy()
    frozen.flags.writeable = False
    for rows in (whole[::2], np.asfortranarray(whole), frozen, whole[::-1]):
        assert np.array_equal(read_rows(bytes(write_rows(rows)), SHAPE), rows)


def test_rows_are_not_copied() -> None:
    rows = pictures(3)
    assert np.shares_memory(np.frombuffer(write_rows(rows), np.uint8), rows)
    body = bytes(write_rows(rows))
    assert np.shares_memory(read_rows(body, SHAPE), np.frombuffer(body, np.uint8))


@pytest.mark.parametrize("kind", [np.int8, np.float32, object])
def test_what_is_not_uint8_is_not_sent(kind: Any) -> None:
    with pytest.raises(TypeError, match="uint8"):
        write_rows(np.zeros((1, *SHAPE), kind))


@pytest.mark.parametrize("length", [0, 1, 23, 25, 47])
def test_anything_but_whole_rows_is_refused(length: int) -> None:
    with pytest.raises(InvalidArgument, match="2, 4, 3"):
        read_rows(bytes(length), SHAPE)


def test_answers_arrive_as_they_were_sent() -> None:
    answers = np.random.default_rng(0).random((3, 5, 15), np.float32)
    answers[1] = np.nan
    for each in (answers, answers[::2], answers[:, :0], np.asfortranarray(answers)):
        read = read_answers(*write_answers(each), len(each))
        assert read.dtype == np.float32
        assert np.array_equal(read, each, equal_nan=True)


@pytest.mark.parametrize("shape", ["", "a", "3,5", "2,15", "3,5,14", "3,5,-1", "3,-1", "5,9", "45", "3.0,15"])
def test_answers_that_are_none_are_refused(shape: str) -> None:
    body, _ = write_answers(np.zeros((3, 15), np.float32))
    with pytest.raises(BentoMLException, match="no answers to 3 rows"):
        read_answers(body, shape, 3)


class Touch:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return os.mknod, (str(self._path),)


@pytest.mark.parametrize("make", [detector_runner, embedder_runner])
@pytest.mark.parametrize("media_type", [MEDIA_TYPE, "application/json", "multipart/form-data", f"{MEDIA_TYPE};a=b"])
def test_no_method_of_a_runner_unpickles_what_it_is_sent(make: Any, media_type: str, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    body = pickle.dumps({"rows": Touch(touched)})
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
    pickle.loads(body)  # noqa: S301  so does it do what it says
    assert touched.exists()
