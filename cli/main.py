"""The command `facebento`: one group, a file for each of its commands."""

import signal
import sys
from typing import Any

import click

from cli.bench import bench
from cli.calibrate import calibrate
from cli.compare import compare
from cli.detect import detect
from cli.doctor.command import doctor
from cli.embed import embed
from cli.evaluate import evaluate
from cli.failing import INTERRUPTED, one_line
from cli.importing import import_file
from cli.models import models
from cli.serve import serve
from cli.settings import show_settings


class Commands(click.Group):
    """A group whose commands fail with one line and exit code 1, never with a traceback, for what a user can cause."""

    def invoke(self, ctx: click.Context) -> Any:
        # Unwinds as Ctrl-C does: temporary folders go, and pip with them.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda told, _: sys.exit(128 + told))
        try:
            with one_line():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


@click.group(cls=Commands)
@click.version_option(package_name="facebento")
def main() -> None:
    """Face detection, features and 1:1 comparison as a service you run yourself.

    detect, embed and compare do here what the service does, with its settings and models, and need no server.
    """


models.add_command(evaluate)
models.add_command(calibrate)
models.add_command(import_file)
for command in (serve, detect, embed, compare, models, doctor, bench, show_settings):
    main.add_command(command)
