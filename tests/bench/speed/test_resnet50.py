"""The network that stands for larger embedders."""

import math
from typing import Any

import numpy as np
import onnx
import pytest

from bench.speed import resnet50
from models.check import patterns
from models.half import drift, halve
from tests.models.sessions import session_of


@pytest.fixture(scope="module")
def graph() -> bytes:
    return resnet50.graph()


@pytest.fixture(scope="module")
def session(graph: bytes) -> Any:
    return session_of(graph)


def test_it_is_as_large_as_arcface_r50_and_answers_unit_vectors(graph: bytes, session: Any) -> None:
    model = onnx.load_from_string(graph)
    sizes = {weight.name: list(weight.dims) for weight in model.graph.initializer}
    for weight in model.graph.initializer:
        weight.ClearField("raw_data")  # which shapes can be told without
    assert 43e6 < sum(map(math.prod, sizes.values())) < 44e6
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    of_convolutions = [
        math.prod(shapes[node.output[0]][1:]) * math.prod(sizes[node.input[1]][1:])
        for node in model.graph.node
        if node.op_type == "Conv"
    ]
    assert 6.2e9 < sum(of_convolutions) < 6.4e9
    faces = np.random.default_rng(2).integers(0, 256, (1, 112, 112, 3), np.uint8)
    [answers] = session.run(None, {"pixels": faces})
    assert answers.shape == (1, 512)
    assert abs(np.linalg.norm(answers) - 1) < 1e-4


def test_it_bears_to_be_halved(graph: bytes, session: Any) -> None:
    faces = patterns(1, resnet50.SIDE)
    whole, half = (each.run(None, {"pixels": faces})[0] for each in (session, session_of(halve(graph))))
    assert drift(whole, half) == ""
