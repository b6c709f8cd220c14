"""Two faults of BentoML 1.4.39 mended, for `bentoml containerize` and `bentoml build --containerize`.

BentoML loads this before each of its commands, by the entry point bentoml.commands, which has to name a command: it is
BentoML's own `containerize`. Nothing of the service may be imported here: `bentoml serve facebento:TAG` would find it
loaded, and take the code of this working copy for that of the bento.
"""

import functools
import os

import click
from bentoml._internal.container import generate
from bentoml._internal.utils.filesystem import resolve_user_filepath
from bentoml_cli.containerize import containerize_command
from bentoml_cli.utils import BentoMLCommandGroup

# BentoML copies a bento's Dockerfile template to a temporary folder, and there refuses to read what is not below the
# working folder: BentoML's issue 5566.
generate.__dict__["resolve_user_filepath"] = functools.partial(resolve_user_filepath, secure=False)

# Its format for podman and buildah is OCI's, in which images have no health checks.
os.environ.setdefault("BUILDAH_FORMAT", "docker")

containerize = click.Command(
    containerize_command.name,
    callback=containerize_command.callback,
    # BentoML adds those that all its commands have when it takes a command in.
    params=containerize_command.params[: -BentoMLCommandGroup.NUMBER_OF_COMMON_PARAMS],
    help=containerize_command.help,
)
