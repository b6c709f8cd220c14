import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation import verification
from evaluation.detection import PrecisionRecall
from evaluation.drawing import draw_precision_recall, draw_roc
from evaluation.errors import DrawingError
from evaluation.measure import threshold_of
from faces.feature import ScoreMapping


def test_a_roc(tmp_path: Path) -> None:
    cosines, same = np.array([0.9, 0.4, 0.5, 0.1]), np.array([True, True, False, False])
    served = threshold_of(cosines, same, 0.3, ScoreMapping(0.3, 4))
    draw_roc(verification.roc(cosines, same), served, "of $four_ pairs", tmp_path / "new" / "roc.png")
    with Image.open(tmp_path / "new" / "roc.png") as image:
        assert image.format == "PNG"
        assert image.convert("L").getextrema() == (0, 255)


@pytest.mark.parametrize("served", [0.5, 0.95])
def test_precision_and_recall(tmp_path: Path, served: float) -> None:
    curve = PrecisionRecall(np.array([0.9, 0.4]), np.array([1, 0.5]), np.array([0.5, 0.5]), faces=2)
    draw_precision_recall(curve, served, "two faces", tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as image:
        assert image.format == "PNG"


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "evaluation.drawing")
    monkeypatch.delitem(sys.modules, "matplotlib.figure")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(DrawingError, match=r"pip install -r requirements/pull.txt"):
        import evaluation.drawing  # noqa: F401, PLC0415
