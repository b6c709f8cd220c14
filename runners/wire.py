"""What goes between a caller and a runner: rows there, answers back, and nothing that runs code.

The body of a call is the rows' bytes, in C order, or a descriptor of where they lie in shared memory
(runners/shared.py); the media type tells which. How many rows they are follows from the length. The body of an answer
is float32 in C order, and a header tells its shape.
"""

import math
from typing import Any, ClassVar

import numpy as np
from _bentoml_sdk import IODescriptor
from bentoml.exceptions import BentoMLException, InvalidArgument
from numpy.typing import NDArray

ROWS = "application/x-facebento-rows"
SHARED_ROWS = "application/x-facebento-shared-rows"
ANSWERS = "application/x-facebento-answers"
SHAPE = "rows-shape"  # header of an answer: 2,100,15

_ANSWER = np.dtype("<f4")


def read_rows(body: bytes | bytearray, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Returns uint8 [n, *shape] with n > 0, the body itself. Raises InvalidArgument where it is no number of rows."""
    row = math.prod(shape)
    if not body or len(body) % row:
        raise InvalidArgument(f"A runner of this model takes uint8 rows of shape {shape}, one or more.")
    return np.frombuffer(body, np.uint8).reshape(-1, *shape)


def write_rows(rows: NDArray[np.uint8]) -> memoryview:
    """The body of a call. Raises TypeError for what is not uint8."""
    if rows.dtype != np.uint8:
        raise TypeError(f"rows are uint8, not {rows.dtype}")
    return np.ascontiguousarray(rows).reshape(-1).data


def write_answers(answers: NDArray[np.float32]) -> tuple[bytes, str]:
    """The body of an answer, and its SHAPE."""
    return np.ascontiguousarray(answers, _ANSWER).tobytes(), ",".join(map(str, answers.shape))


def read_answers(body: bytes, shape: str, rows: int) -> NDArray[np.float32]:
    """Returns float32, one for each of that many rows, read-only. Raises BentoMLException for anything else."""
    try:
        dimensions = tuple(int(each) for each in shape.split(","))
        if dimensions[0] == rows and min(dimensions) >= 0:
            return np.frombuffer(body, _ANSWER).reshape(dimensions)
    except ValueError:
        pass
    raise BentoMLException(f"{len(body)} bytes of the shape {shape!r} are no answers to {rows} rows.")


class NoInput(IODescriptor):
    """Of a method that takes nothing: what is sent to it is not read."""

    @classmethod
    async def from_http_request(cls, request: Any, serde: Any) -> IODescriptor:  # noqa: ARG003  BentoML's signature
        return cls()


def rows_of(*shape: int) -> type[IODescriptor]:
    """The input of a method that takes uint8 [n, *shape]. For `input_spec` of @bentoml.api.

    BentoML's own way to read a call unpickles whatever it is sent, or fetches URLs that it names; its validators let
    any array pass. Calls go another way (runners/direct.py), and are refused on this one.
    """

    class Rows(IODescriptor):
        rows: np.ndarray
        row: ClassVar[tuple[int, ...]] = shape

        @classmethod
        async def from_http_request(cls, request: Any, serde: Any) -> IODescriptor:  # noqa: ARG003  BentoML's signature
            raise InvalidArgument("Rows do not come this way.")

    return Rows
