"""The models in the store."""

from collections.abc import Iterator

from api.settings import Settings, SettingsError
from cli.doctor.finding import Finding, ok, problem, warning
from cli.local import ROLES, served_model
from models import store
from models.catalog import catalog
from models.errors import ModelError


def check(configured: Settings) -> Iterator[Finding]:
    """The two that are served, byte for byte; and whether others are damaged."""
    for role in ROLES:
        try:
            model = served_model(configured, role)
            model.verify()
        except (ModelError, SettingsError) as error:
            told, remedy = _parted(str(error))
            yield problem(role, told + _of_other_releases(getattr(configured, role)), remedy)
            continue
        accepted = "" if model.accepted is None else f", its licence accepted on {model.accepted.accepted_at:%Y-%m-%d}"
        size = model.path.stat().st_size / 1e6
        yield ok(role, f"{model.tag}, {size:.1f} MB, undamaged, prepared as this release does it{accepted}")
    for record in store.torn():
        yield warning("other models", f"{record} is damaged", "Pull or import the model again, or delete its folder")


def _of_other_releases(model_id: str) -> str:
    """Of a model of the catalog: what is in the store, and is not what this release would have prepared."""
    others = [each.tag for each in store.stored() if each.description.id == model_id]
    there = model_id in catalog() and catalog()[model_id].tag not in others
    return f" (stored: {', '.join(others)}, prepared by another release)" if there and others else ""


def _parted(message: str) -> tuple[str, str]:
    """What is so, and the command that mends it, which ends such a message."""
    told, run, command = message.rpartition(" Run: ")
    return (told, command) if run else (message, "facebento models list, facebento models pull")
