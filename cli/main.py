"""The command `facebento`: one group, a file for each of its commands."""

import signal
import sys
import traceback
from typing import Any

import click

from api.settings import SettingsError
from cli.calibrate import calibrate
from cli.evaluate import evaluate
from cli.importing import import_file
from cli.models import models
from cli.serve import serve
from cli.settings import show_settings
from evaluation.errors import EvaluationError
from models.errors import ModelError
from runners.errors import RunnerError


class Commands(click.Group):
    """A group whose commands fail with one line and exit code 1, never with a traceback, for what a user can cause."""

    def invoke(self, ctx: click.Context) -> Any:
        # Unwinds as Ctrl-C does: temporary folders go, and pip with them.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            return super().invoke(ctx)
        except (EvaluationError, ModelError, RunnerError, SettingsError) as error:
            raise click.ClickException(str(error)) from error
        except BrokenPipeError:  # who reads has enough: click ends without a word
            raise
        except OSError as error:
            told = ": ".join(str(each) for each in (error.filename, error.strerror or error) if each is not None)
            raise click.ClickException(f"{told}. See BENTOML_HOME" if _of_home(error) else told) from error


def _of_home(error: OSError) -> bool:
    """Whether it was raised as BentoML made its home, which it does as it is imported."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(frame.f_globals.get("__name__") == "bentoml._internal.configuration.containers" for frame in frames)


@click.group(cls=Commands)
@click.version_option(package_name="facebento")
def main() -> None:
    """Face detection, features and 1:1 comparison as a service you run yourself."""


models.add_command(evaluate)
models.add_command(calibrate)
models.add_command(import_file)
main.add_command(models)
main.add_command(serve)
main.add_command(show_settings)
