"""`bentoml containerize`, with two faults of BentoML 1.4.39 mended.

BentoML loads it in place of its own command, by the entry point bentoml.commands.
"""

import functools
from collections.abc import Callable
from typing import Any, cast

import click
from bentoml import container
from bentoml._internal.container import generate
from bentoml._internal.utils.filesystem import resolve_user_filepath
from bentoml.exceptions import BentoMLException
from bentoml_cli.containerize import containerize_command
from bentoml_cli.utils import BentoMLCommandGroup


def _mended(callback: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(callback)
    def run(*args: Any, **kwargs: Any) -> Any:
        # It copies a bento's Dockerfile template to a temporary folder, and refuses to read what is not below the
        # working folder: BentoML's issue 5566.
        generate.__dict__["resolve_user_filepath"] = functools.partial(resolve_user_filepath, secure=False)
        container.build = _or_fail(container.build)
        return callback(*args, **kwargs)

    return run


def _or_fail(build: Callable[..., Any]) -> Callable[..., Any]:
    """A build that fails is logged, and answers None: the command would end with exit status 0."""

    @functools.wraps(build)
    def run(*args: Any, **kwargs: Any) -> Any:
        result = build(*args, **kwargs)
        if result is None:
            raise BentoMLException("no image was built; the reason stands above")
        return result

    return run


containerize = click.Command(
    containerize_command.name,
    callback=_mended(cast("Callable[..., Any]", containerize_command.callback)),
    # BentoML adds those that all its commands have when it takes a command in.
    params=containerize_command.params[: -BentoMLCommandGroup.NUMBER_OF_COMMON_PARAMS],
    help=containerize_command.help,
)
