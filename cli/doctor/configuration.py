"""The settings: whether they can be used, who can read the keys, whether somebody is let in."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from api import settings
from api.settings import Settings, SettingsError
from cli.doctor.finding import Finding, ok, problem, warning
from cli.home import service_settings


def read(home: Path) -> tuple[Settings | None, list[Finding]]:
    """The settings of a service of that working copy; None where they can't be used."""
    try:
        configured = service_settings(home)
    except SettingsError as error:
        remedy = "docs/configuration.md, or: facebento settings"
        return None, [problem("settings", line, remedy) for line in str(error).splitlines()]
    given = sorted(f"{settings.PREFIX}{name.upper()}" for name in configured.model_fields_set)
    return configured, [ok("settings", f"set: {', '.join(given)}" if given else "all as they are by default")]


def check(configured: Settings, home: Path) -> Iterator[Finding]:
    with contextlib.chdir(home):
        for line in settings.unknown_variables():
            yield warning("settings", line, "Take it away, or correct its name: facebento settings lists them")
        yield _keys(configured)
        for file in (Path(".env"), configured.api_keys_file):
            if file is not None and file.is_file():
                yield _private(file.absolute())


def _keys(configured: Settings) -> Finding:
    keys = configured.keys()
    if not keys:
        return warning("keys", "there is none yet", "facebento serve makes one; bentoml serve refuses to start")
    if not keys.live:
        return problem("keys", f"every key has expired: {keys.describe()}", "Add a new one: docs/operations.md, Keys")
    if keys.expired:
        return warning("keys", keys.describe(), "Take those out that have expired, or renew them")
    return ok("keys", keys.describe())


def _private(file: Path) -> Finding:
    mode = file.stat().st_mode & 0o777
    if mode & 0o077:
        return warning(
            f"{file.name} is private", f"other users may open {file}: its mode is {mode:o}", f"chmod 600 {file}"
        )
    return ok(f"{file.name} is private", f"mode {mode:o}")
