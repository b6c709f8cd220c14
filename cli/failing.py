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


@contextmanager
def one_line(status: int | None = None) -> Iterator[None]:
    """Turns what a user can cause into an error of click's, which is a line on standard error.

    status: of the process, in place of click's own.
    """
    try:
        yield
    except click.ClickException as error:
        raise _with(error, status) from None
    except (EvaluationError, InputError, ModelError, RunnerError, SettingsError) as error:
        raise _with(click.ClickException(str(error)), status) from error
    except BrokenPipeError:  # who reads has enough: click ends without a word
        raise
    except OSError as error:
        told = ": ".join(str(each) for each in (error.filename, error.strerror or error) if each is not None)
        told = f"{told}. See BENTOML_HOME" if _of_home(error) else told
        raise _with(click.ClickException(told), status) from error


def _with(error: click.ClickException, status: int | None) -> click.ClickException:
    if status is not None:
        error.exit_code = status
    return error


def _of_home(error: OSError) -> bool:
    """Whether it was raised as BentoML made its home, which it does as it is imported."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(frame.f_globals.get("__name__") == "bentoml._internal.configuration.containers" for frame in frames)
