"""`facebento models`: what there is, and getting it into the store.

BentoML's store and onnx take seconds to import, so the commands that need them import them themselves.
"""
# ruff: noqa: PLC0415

import json
from pathlib import Path
from types import ModuleType

import click

from models.catalog import ModelDescription, catalog, describe
from models.errors import ModelError, ModelNotStoredError


@click.group()
def models() -> None:
    """Pull, import, list and verify models."""


@models.command("list")
def list_models() -> None:
    """Show every model of the catalog and the store."""
    from models import store

    stored = {model.tag: model for model in store.stored()}
    rows = [("ID", "ROLE", "STORED", "SIZE", "LICENCE")]
    for description in _known(stored_descriptions=[model.description for model in stored.values()]):
        model = stored.get(description.tag)
        size = f"{model.path.stat().st_size / 1e6:.1f} MB" if model else "-"
        rows.append((description.id, description.role, "yes" if model else "no", size, description.licence))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@models.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
def pull(ids: tuple[str, ...]) -> None:
    """Download, check and store models: the ones named, or else the starter pair."""
    descriptions = [_pullable(each) for each in ids] or [each for each in catalog().values() if each.starter]
    puller = _puller()
    for description in descriptions:
        puller.pull(description, click.echo)


@models.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--description",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML with the fields of one entry of models/catalog.toml; sha256 and source may be left out.",
)
def import_file(file: Path, description: Path) -> None:
    """Store a model of your own: an ONNX FILE with a description of its input and output."""
    _puller().import_model(file, description, click.echo)


@models.command()
@click.pass_context
def verify(context: click.Context) -> None:
    """Compare every stored model with its checksum; exit code 1 if one is damaged."""
    from models import store

    stored = store.stored()
    if not stored:
        raise ModelNotStoredError("no models are stored. Run: facebento models pull")
    damaged = False
    for model in stored:
        try:
            model.verify()
        except ModelError as error:
            damaged = True
            click.echo(f"Error: {error}", err=True)
        else:
            click.echo(f"{model.tag} is undamaged")
    if damaged:
        context.exit(1)


@models.command()
@click.argument("model_id", metavar="ID")
def info(model_id: str) -> None:
    """Tell all that is known of a model, as JSON."""
    from models import store

    try:
        model = store.find(model_id)
    except ModelNotStoredError:
        model = None
    description = describe(model_id) if model is None else model.description
    told = description.model_dump(mode="json", exclude_none=True) | {"tag": description.tag}
    if description.role == "embedder":
        told["fingerprint"] = description.fingerprint
    told["stored"] = model is not None
    if model is not None:
        told |= {"tag": model.tag, "path": str(model.path), "prepared_sha256": model.prepared_sha256}
        if description.embedder and (calibration := description.embedder.calibration):
            told["calibration"] = calibration.model_dump(mode="json")
    click.echo(json.dumps(told, indent=2, ensure_ascii=False))


def _known(stored_descriptions: list[ModelDescription]) -> list[ModelDescription]:
    """The catalog, then what was imported; a catalog model stored by another release is not served, nor shown."""
    imported = {each.id: each for each in stored_descriptions if each.id not in catalog()}
    return [*catalog().values(), *imported.values()]


def _pullable(model_id: str) -> ModelDescription:
    from models import store

    if model_id not in catalog() and any(model.description.id == model_id for model in store.stored()):
        raise click.ClickException(f"{model_id} was imported from a file, and there is nowhere to pull it from")
    return describe(model_id)


def _puller() -> ModuleType:
    try:
        from models import pull
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise click.ClickException(
            "preparing a model needs onnx, which serving does not. Run: pip install -r requirements/pull.txt"
        ) from error
    return pull
