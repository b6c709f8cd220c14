"""`facebento settings`: the table of docs/configuration.md."""

import click
from pydantic.fields import FieldInfo

from api.settings import PREFIX, Settings


@click.command("settings")
def show_settings() -> None:
    """Print every setting with its default, as a Markdown table."""
    click.echo("| variable | default | what it does |\n|---|---|---|")
    for name, field in Settings.model_fields.items():
        click.echo(f"| `{PREFIX}{name.upper()}` | {_default(field)} | {field.description} |")


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "the cores"
    value = field.get_default()
    return f"`{value}`" if value is not None and str(value) else "none"
