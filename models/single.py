"""The proof that a prepared graph answers one picture as the file that it was made of does.

What is taken out of a graph so that it takes batches (rows.py) must leave the answer for one image what it was.
"""

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from models import prepare
from models.catalog import InputSpec, ModelDescription
from models.check import Pixels, patterns, session_of
from models.errors import GraphMismatchError, first_line

# Of the largest value of an output. The same arithmetic in another order was seen to differ by 1e-6; half floats, where
# a network has them inside, by 1e-3.
SAME_SHARE = 2e-3

Floats = npt.NDArray[np.float32]


def check_one(description: ModelDescription, raw: onnx.ModelProto, prepared: onnx.ModelProto) -> None:
    """Runs both on one picture of the described size on the CPU, and compares each output of the network.

    raw: what the file holds, of which only the size of its input is changed to that of one picture: what a network for
    other pictures, or for ten of them, says of its own size. prepared: what was made of it.

    GraphMismatchError if one of them can't be run, or if they differ.
    """
    names = prepare.heads(description, raw)
    [picture] = patterns(1, description.input.size)
    expected = _run(_for_one(raw, description.input.size), names, _seen(description.input, picture))
    found = _run(_with_outputs(prepared, names), [f"{prepare.CORE}{name}" for name in names], picture[None])
    for name, one, other in zip(names, expected, found, strict=True):
        if one.size != other.size or not _same(one.ravel(), other.ravel()):
            raise GraphMismatchError(
                f"prepared for batches, the graph gives another {name!r} for one picture than the file does. Export it "
                "with a free batch"
            )


def _same(one: Floats, other: Floats) -> bool:
    finite = np.isfinite(one)
    bound = SAME_SHARE * np.abs(one[finite]).max(initial=0)
    return np.array_equal(finite, np.isfinite(other)) and np.allclose(one[finite], other[finite], rtol=0, atol=bound)


def _seen(spec: InputSpec, picture: Pixels) -> Floats:
    """What the network is given for a picture: float32 [1, 3, S, S]."""
    ordered = picture if spec.color == "RGB" else picture[..., ::-1]
    mean, scales = np.array(spec.mean, np.float32), np.array(spec.scales, np.float32)
    values = (ordered.astype(np.float32) - mean) * scales
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def _for_one(raw: onnx.ModelProto, size: int) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(raw)
    model.graph.input[0].type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, [1, 3, size, size]))
    model.graph.ClearField("value_info")
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    return model


def _with_outputs(prepared: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(prepared)
    model.graph.ClearField("output")
    for name in names:
        model.graph.output.append(helper.make_tensor_value_info(f"{prepare.CORE}{name}", TensorProto.FLOAT, None))
    return model


def _run(model: onnx.ModelProto, names: list[str], rows: npt.NDArray[np.generic]) -> list[Floats]:
    try:
        session = session_of(model.SerializeToString())
        answers: list[Floats] = session.run(names, {session.get_inputs()[0].name: rows})
    except Exception as error:  # onnxruntime's errors have no base of their own
        raise GraphMismatchError(f"onnxruntime can't run the graph for one picture: {first_line(error)}") from error
    return answers
