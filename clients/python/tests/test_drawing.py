"""Results drawn: where the coordinates are, on the picture as a person sees it."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from clients.python.tests.answering import FACE, feature
from facebento_client import (
    DetectResult,
    EmbeddingsResult,
    Face,
    FaceEmbedding,
    FaceFeature,
    FeatureResult,
    MultiEmbeddingsResult,
    MultiFeatureResult,
    ScoreResult,
)

FOUND = Face.surely(FACE)
GREY = Image.new("RGB", (120, 100), (128, 128, 128))


@pytest.mark.parametrize(
    "result",
    [
        DetectResult((FOUND,)),
        FeatureResult(feature(0.6, 0.8), FOUND),
        EmbeddingsResult((1.0,), FOUND),
        MultiFeatureResult((FaceFeature(FOUND, feature(0.6, 0.8)),)),
        MultiEmbeddingsResult((FaceEmbedding(FOUND, (1.0,)),)),
    ],
    ids=lambda result: type(result).__name__,
)
def test_box_and_landmarks_are_drawn_on_a_new_picture(result: Any) -> None:
    drawn = result.draw(GREY)
    assert drawn.size == GREY.size
    changed = np.argwhere((np.asarray(drawn) != 128).any(axis=2))
    below_the_text = changed[changed[:, 0] > FOUND.box.top + 10]
    assert (below_the_text[:, 1].min(), below_the_text[:, 1].max() + 1) == (FOUND.box.left, FOUND.box.right)
    assert changed[:, 0].max() + 1 == FOUND.box.bottom
    for x, y in FOUND.landmarks:
        assert drawn.getpixel((x, y)) == (255, 214, 0)
    assert GREY.getpixel((10, 30)) == (128, 128, 128)


@pytest.mark.parametrize("result", [DetectResult(()), FeatureResult(None, None), EmbeddingsResult((1.0,), None)])
def test_without_a_face_there_is_the_picture(result: Any) -> None:
    assert (np.asarray(result.draw(np.asarray(GREY))) == 128).all()


def test_it_is_drawn_on_the_upright_picture() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    file = io.BytesIO()
    GREY.save(file, "PNG", exif=exif)
    drawn = DetectResult((FOUND,)).draw(file.getvalue())
    assert drawn.size == (100, 120)
    assert drawn.getpixel(FOUND.landmarks.nose) == (255, 214, 0)


def test_a_pair_is_drawn_side_by_side() -> None:
    drawn = ScoreResult(0.75, (FOUND, None)).draw(GREY, GREY.resize((240, 200)))
    assert drawn.width == 240
    assert drawn.height > 100
    assert drawn.getpixel(FOUND.landmarks.nose) == (255, 214, 0)
    assert (np.asarray(drawn)[:100, 120:] == 128).all()
    assert np.asarray(drawn)[100:].any()
