"""What a runner takes over its socket: rows of one shape, and nothing that runs code."""

import io
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
from _bentoml_sdk import IODescriptor
from bentoml.exceptions import InvalidArgument
from numpy.typing import NDArray


class _Uint8:
    """In place of numpy.dtype, whose state a pickle could change for the whole process."""

    def __init__(self, name: str, *_: bool) -> None:
        if name != "u1":
            raise pickle.UnpicklingError(f"{name} is not uint8")

    def __setstate__(self, _: Any) -> None: ...


def _array(buffer: memoryview, _: _Uint8, shape: tuple[int, ...], order: Literal["C", "F"]) -> NDArray[np.uint8]:
    return np.frombuffer(buffer, np.uint8).reshape(shape, order=order)


# All that the pickle of an array names: the array's bytes are not in it, but behind it.
NEEDED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): _Uint8,
    ("numpy._core.numeric", "_frombuffer"): _array,
}


class ArrayUnpickler(pickle.Unpickler):
    """Unpickles arrays of uint8, and nothing else: a pickle may name any function of any module, and have it called.

    https://docs.python.org/3/library/pickle.html#restricting-globals
    """

    def find_class(self, module: str, name: str) -> Any:
        needed = NEEDED.get((module, name))
        if needed is None:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an array")
        return partial(needed)  # a new object, since a pickle may also set attributes of what it names


def read_rows(body: bytes, lengths: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The rows of a call as BentoML's caller sends them: a pickle, and behind it the bytes of the array, not copied.

    lengths: of these two, with a comma between. Returns uint8 [n, *shape] with n > 0, read-only.
    Raises InvalidArgument, which BentoML answers with 400, for anything else.
    """
    try:
        head, size = (int(length) for length in lengths.split(","))
        view = memoryview(body)
        told = ArrayUnpickler(io.BytesIO(view[:head]), buffers=[pickle.PickleBuffer(view[head : head + size])]).load()
        [rows] = told.values()
    except Exception as error:  # what broken bytes raise is of no common kind
        raise InvalidArgument("The body is not one array as BentoML's caller sends it.") from error
    if not isinstance(rows, np.ndarray) or rows.shape[1:] != shape or not len(rows):
        raise InvalidArgument(f"A runner of this model takes uint8 rows of shape {shape}, one or more.")
    return rows


class NoInput(IODescriptor):
    """Of a method that takes nothing: what is sent to it is not read."""

    @classmethod
    async def from_http_request(cls, request: Any, serde: Any) -> IODescriptor:  # noqa: ARG003  BentoML's signature
        return cls()


def rows_of(*shape: int) -> type[IODescriptor]:
    """The input of a method that takes uint8 [n, *shape]. For `input_spec` of @bentoml.api.

    Rows are checked before they are put into a batch with those of others, which would all fail with it. BentoML's own
    way to read a call unpickles whatever it is sent, or fetches URLs that it names; its validators let any array pass.
    """

    class Rows(IODescriptor):
        rows: np.ndarray

        @classmethod
        def from_inputs(cls, *args: Any, **kwargs: Any) -> IODescriptor:
            # The bytes of any other array would be inside its pickle.
            return super().from_inputs(*(np.ascontiguousarray(rows) for rows in args), **kwargs)

        @classmethod
        async def from_http_request(cls, request: Any, serde: Any) -> IODescriptor:  # noqa: ARG003  BentoML's signature
            rows = read_rows(await request.body(), request.headers.get("buffer-lengths", ""), shape)
            return cls.model_construct(rows=rows)

    return Rows
