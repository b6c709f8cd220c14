"""The curves, as PNG. Only this module knows matplotlib, which serving does without."""

from pathlib import Path
from typing import Any

from evaluation.detection import PrecisionRecall
from evaluation.errors import DrawingError
from evaluation.report import Threshold
from evaluation.verification import Roc

try:
    from matplotlib.figure import Figure
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "matplotlib":
        raise
    raise DrawingError(
        "drawing a curve needs matplotlib, which serving does not. Run: pip install -r requirements/pull.txt"
    ) from error


def draw_roc(curve: Roc, served: Threshold, title: str, file: Path) -> None:
    """FAR on a logarithmic axis, from half a pair of two people on: that is where no false accept at all is drawn."""
    figure, axes = _figure(title)
    axes.set_xscale("log")
    least = 0.5 / curve.different
    axes.step(curve.far.clip(least), curve.tar, where="post")  # between two thresholds nothing is known
    label = f"served: cosine {served.cosine:.3f}"
    axes.plot([max(served.far, least)], [served.tar], "o", label=label, clip_on=False)
    axes.set(xlim=(least, 1), ylim=(0, 1.02), xlabel="FAR: pairs of two people taken for one", ylabel="TAR")
    axes.legend(loc="lower right")
    _save(figure, file)


def draw_precision_recall(curve: PrecisionRecall, served: float, title: str, file: Path) -> None:
    """served: the score threshold in use."""
    figure, axes = _figure(title)
    axes.plot(curve.recall, curve.precision)
    precision, recall = curve.above(served)
    if precision is not None:
        axes.plot([recall], [precision], "o", label=f"served: confidence {served:g}", clip_on=False)
        axes.legend(loc="lower left")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    _save(figure, file)


def _figure(title: str) -> tuple[Figure, Any]:
    # Not pyplot, which keeps its figures and looks for a screen.
    figure = Figure(figsize=(7, 5), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, parse_math=False)
    axes.grid(visible=True, which="both", alpha=0.3)
    return figure, axes


def _save(figure: Figure, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, format="png")
