"""The working copy that the command belongs to, and the settings that a service of it has."""

import contextlib
from pathlib import Path
from typing import Final

from api import settings
from api.settings import Settings

HOME: Final = Path(__file__).resolve().parent.parent
PICTURE: Final = Path("docs", "images", "astronaut.jpg")  # of one person, in the public domain


def service_settings(home: Path = HOME) -> Settings:
    """The settings as `facebento serve` finds them, with the .env of the working copy, from wherever this is run.

    Raises SettingsError.
    """
    with contextlib.chdir(home):
        return settings.load()
