"""What several commands take."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

MOST_FACES: Final = 750  # of a photo, as the service answers at most
Command = TypeVar("Command", bound=Callable[..., Any])


def photos(*, required: bool) -> Callable[[Command], Command]:
    return click.argument("photos", nargs=-1, required=required, metavar="PHOTO..." if required else "[PHOTO]...")


def as_json(what: str) -> Callable[[Command], Command]:
    return click.option("--json", "as_json", is_flag=True, help=what)


LINES: Final = "One JSON object a line for each photo, for machines."
