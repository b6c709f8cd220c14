"""`facebento models import`: a user's own file, tried out on photographs first if they like."""
# ruff: noqa: PLC0415  onnx, onnxruntime and the pipeline take seconds to import

from pathlib import Path

import click

from cli.models import with_onnx

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("import")
@click.argument("file", type=_FILE)
@click.option(
    "--description",
    required=True,
    type=_FILE,
    help="TOML with the fields of one entry of models/catalog.toml; sha256 and source may be left out. "
    "docs/importing.md has one for each kind of model.",
)
@click.option("--dry-run", is_flag=True, help="Store nothing: show what the model makes of each PHOTO.")
@click.argument("photos", nargs=-1, type=_FILE, metavar="[PHOTO]...")
@click.option(
    "--draw",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="A PNG to write in a dry run: the photos with what was found, or the crops that an embedder takes.",
)
@click.option("--accept-license", is_flag=True, help="Accept the terms that the description wants accepted.")
def import_file(  # noqa: PLR0917  click names them
    file: Path, description: Path, dry_run: bool, photos: tuple[Path, ...], draw: Path | None, accept_license: bool
) -> None:
    """Store a model of your own: an ONNX FILE with a description of its input and output.

    With --dry-run nothing is stored, and photographs show whether the description is right.
    """
    if not dry_run and (photos or draw):
        raise click.UsageError("photos and --draw are for a --dry-run, in which nothing is stored.")
    if draw and not photos:
        raise click.UsageError("--draw draws what was found on photos: name one.")
    puller = with_onnx("models.pull")
    if not dry_run:
        puller.import_model(file, description, click.echo, accept_licence=accept_license)
        return
    own = puller.read_own(file, description, click.echo, accept_licence=accept_license, dry_run=True)
    prepared = own.prepare(click.echo)
    from cli import dry_run as trial

    if photos:
        trial.show(own.description, prepared, photos, draw)
    click.echo(f"{own.description.id}: nothing was stored, as this was a dry run")
