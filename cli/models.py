"""`facebento models`: what there is, and getting it into the store. An own file: importing.py.

BentoML's store and onnx take seconds to import, so the commands that need them import them themselves.
"""
# ruff: noqa: PLC0415

import importlib
import json
from types import ModuleType
from typing import TYPE_CHECKING

import click

from models.catalog import ModelDescription, catalog, describe
from models.errors import DescriptionChangedError, LicenceNotAcceptedError, ModelError, ModelNotStoredError

if TYPE_CHECKING:
    from models.store import StoredModel


@click.group()
def models() -> None:
    """Pull, import, list and verify models."""


@models.command("list")
def list_models() -> None:
    """Show every model of the catalog and the store."""
    from models import store

    rows = [("ID", "ROLE", "STORED", "SIZE", "LICENCE")]
    for description in _known(stored_descriptions=[model.description for model in store.stored()]):
        state, model = _state(description.id)
        size = f"{model.path.stat().st_size / 1e6:.1f} MB" if model else "-"
        rows.append((description.id, description.role, state, size, _licence(description, model)))
    known = {row[0] for row in rows}
    rows += [
        (record.parent.parent.name, "-", "damaged", "-", "-")
        for record in store.torn()
        if record.parent.parent.name not in known
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@models.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option(
    "--from",
    "come_from",
    metavar="DIR_OR_URL",
    help="A folder, or the address of a mirror, that has the files under their published names.",
)
@click.option("--accept-license", is_flag=True, help="Accept the terms of models that restrict what they are used for.")
def pull(ids: tuple[str, ...], come_from: str | None, accept_license: bool) -> None:
    """Download, check and store models: the ones named, or else the starter pair."""
    descriptions = [_pullable(each) for each in ids] or [each for each in catalog().values() if each.starter]
    puller = with_onnx("models.pull")
    for description in descriptions:
        puller.pull(description, click.echo, come_from=come_from, accept_licence=accept_license)


@models.command()
@click.pass_context
def verify(context: click.Context) -> None:
    """Compare every stored model with its checksum; exit code 1 if one is damaged."""
    from models import store

    stored = store.stored()
    torn = store.torn()
    if not stored and not torn:
        raise ModelNotStoredError("no models are stored. Run: facebento models pull")
    damaged = bool(torn)
    for record in torn:
        click.echo(f"Error: {record} is damaged: pull or import the model again, or delete its folder", err=True)
    for model in stored:
        try:
            model.verify()
            model.check_calibration()
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
        if model.accepted is not None:
            told["accepted"] = model.accepted.model_dump(mode="json")
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


def _state(model_id: str) -> tuple[str, "StoredModel | None"]:
    """What there is to say of a model in the store, and the model if it can be served."""
    from models import store

    try:
        return "yes", store.find(model_id)
    except ModelNotStoredError:
        return "no", None
    except DescriptionChangedError:
        return "changed", None
    except LicenceNotAcceptedError:
        return "not accepted", None
    except ModelError:
        return "damaged", None


def _licence(description: ModelDescription, model: "StoredModel | None") -> str:
    if not description.acceptance:
        return description.licence
    if model is None or model.accepted is None:
        return f"to be accepted: {description.licence}"
    return f"accepted on {model.accepted.accepted_at:%Y-%m-%d}: {description.licence}"


def with_onnx(module: str) -> ModuleType:
    """A module that needs onnx, which serving does not."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name not in {"onnx", "httpx"}:
            raise
        raise click.ClickException(
            f"preparing a model needs {error.name}, which serving does not. Run: pip install -r requirements/pull.txt"
        ) from error
