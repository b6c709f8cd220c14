"""How commands fail: with one line that says what to do, and a status that scripts can tell apart.

0    done
1    something failed, which is told; of `compare`: not the same person
2    called in a wrong way; of `compare`: any failure, as of diff and grep
130  interrupted (Ctrl-C), 143 terminated
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from api.settings import SettingsError
from evaluation.errors import EvaluationError
from faces.errors import InputError
from models.errors import ModelError
from runners.errors import RunnerError

FAILED: Final = 1
INTERRUPTED: Final = 130  # as a shell tells it of SIGINT


class Failure(click.ClickException):
    """One line on standard error, and a status of its own."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # click has it as one number for all of a class
        return self.status


@contextmanager
def one_line(status: int = FAILED) -> Iterator[None]:
    """Turns what a user can cause into an error of click's. Those that are of click already stay as they are.

    status: of the process.
    """
    try:
        yield
    except (EvaluationError, InputError, ModelError, RunnerError, SettingsError) as error:
        raise Failure(str(error), status) from error
    except BrokenPipeError:  # who reads has enough: click ends without a word
        raise
    except OSError as error:
        from cli.photos import printable  # noqa: PLC0415  which takes a moment

        told = ": ".join(printable(str(each)) for each in (error.filename, error.strerror or error) if each is not None)
        raise Failure(f"{told}. See BENTOML_HOME" if _of_home(error) else told, status) from error


def _of_home(error: OSError) -> bool:
    """Whether it was raised as BentoML made its home, which it does as it is imported."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(frame.f_globals.get("__name__") == "bentoml._internal.configuration.containers" for frame in frames)
