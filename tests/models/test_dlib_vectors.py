"""The prepared embedder against dlib itself: dlib_vectors.json holds what dlib answered, and says how it was made."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import helper
from PIL import Image

from models import store

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

TABLE = json.loads(Path(__file__).with_name("dlib_vectors.json").read_text())
VECTORS = np.array([each["vector"] for each in TABLE["crops"]])


@pytest.fixture(scope="module")
def answers(astronaut: Pixels, grace_hopper: Pixels) -> dict[str, Floats]:
    """Of the table's crops in one batch: as dlib gives them, and as they are served."""
    pictures = {"astronaut": astronaut, "grace_hopper": grace_hopper}
    crops = np.stack([cut(pictures[each["picture"]], each) for each in TABLE["crops"]])
    graph = onnx.load(store.find("dlib-resnet-v1").path)
    graph.graph.output.append(helper.make_empty_tensor_value_info("network/raw"))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    names = ["network/raw", "embeddings"]
    return dict(zip(names, session.run(names, {"crops": crops}), strict=True))


def cut(picture: Pixels, crop: dict[str, Any]) -> Pixels:
    """uint8 [150, 150, 3], by fixed numbers and by Pillow, so that the pixels are the ones that dlib got."""
    image = Image.fromarray(picture).transform(
        (150, 150), Image.Transform.AFFINE, crop["matrix"], Image.Resampling.BILINEAR
    )
    small = image.resize((crop["side"], crop["side"]), Image.Resampling.BOX)
    seen = np.asarray(small.resize((150, 150), Image.Resampling.BILINEAR))
    darkened: Pixels = (seen * crop["gain"]).astype(np.uint8)
    return darkened


def test_the_vectors_are_dlibs(answers: dict[str, Floats]) -> None:
    """By up to 5e-7 they differ; another decoder of the JPEG, a level off here and there, makes it 1e-3."""
    np.testing.assert_allclose(answers["network/raw"], VECTORS, rtol=0, atol=2e-3)


def test_the_embeddings_are_dlibs_of_length_1(answers: dict[str, Floats]) -> None:
    expected = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    assert (answers["embeddings"] * expected).sum(axis=1).min() >= 0.9999
