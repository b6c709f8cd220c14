"""`facebento models calibrate`: a score mapping from what was measured.

What it needs takes seconds to import, so it is imported when the command runs.
"""
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Final

import click

from api import settings

FEW_PAIRS: Final = 300  # without an error among n, the true rate may still be 3 / n (the rule of three, at 95 %)


@click.command()
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--embedder", metavar="ID", help="Default: the setting FACEBENTO_EMBEDDER.")
@click.option("--far", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="0.5 is where so many differ.")
@click.option("--cosine", type=click.FloatRange(-1, 1, min_open=True, max_open=True), help="0.5 is at this cosine.")
@click.option("--reset", is_flag=True, help="Go back to the mapping of the model's description.")
def calibrate(*, file: Path | None, embedder: str | None, far: float | None, cosine: float | None, reset: bool) -> None:
    """Set an embedder's scores by what `evaluate --pairs` has measured: FILE is its evaluation.json.

    0.5 is then the score at the equal error rate, or where --far or --cosine puts it. Embeddings, features and the
    similarity behind the score stay as they are; stored features need not be made again.
    """
    if (
        reset == (file is not None)
        or (far is not None and cosine is not None)
        or (reset and (far, cosine) != (None, None))
    ):
        raise click.UsageError("give either FILE, with --far or --cosine if you like, or --reset")
    from evaluation.calibration import measure
    from evaluation.report import PairsEvaluation
    from models import store

    model_id = embedder or settings.load().embedder
    stored = store.find(model_id, calibrated=False)
    if stored.description.role != "embedder":
        raise click.ClickException(f"{model_id} is no embedder: only embedders have scores")
    measured = None
    if file is not None:
        fingerprint = stored.description.fingerprint
        measured = measure(PairsEvaluation.load(file), fingerprint=fingerprint, far=far, cosine=cosine)
    model = store.calibrate(stored, measured)
    spec = model.description.embedder
    assert spec is not None  # noqa: S101  store.calibrate has seen to it
    mapping = spec.mapping
    source = f"measured on {measured.data} at {measured.chosen}" if measured else "as the model's description has it"
    click.echo(
        f"{model.tag}: score 0.5 at a cosine of {mapping.cosine:.4f}, steepness {mapping.steepness:.2f}, {source}"
    )
    if measured is not None:
        rows = [f"{'cosine':>8}  {'score':>6}  {'FAR':>9}  {'TAR':>8}  {'accuracy':>8}"]
        rows += [
            f"{each.cosine:8.4f}  {mapping.score(each.cosine):6.3f}  {each.far:9.4%}  {each.tar:8.2%}  "
            f"{each.accuracy:8.2%}"
            for each in measured.points
        ]
        click.echo("\n".join(rows))
        if min(measured.same_pairs, measured.different_pairs) < FEW_PAIRS:
            click.echo(
                f"Warning: {measured.same_pairs} pairs of one person and {measured.different_pairs} of two say little: "
                f"even {FEW_PAIRS} without an error leave room for one in a hundred",
                err=True,
            )
    click.echo(
        "A service that runs takes it up when it is started again; a bento holds what was there when it was exported"
    )
