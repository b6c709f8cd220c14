"""docs/command-line.md: its commands are run, and print what stands there, but for digits."""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from click.testing import Result

from cli.main import main

Run = Callable[..., Result]
PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "docs" / "command-line.md").read_text(encoding="utf-8")
# What they print is of one machine, and they take long; each has tests of its own.
NOT_RUN = ("bench", "doctor")


def masked(text: str) -> list[str]:
    """Its lines. Rounding differs between processors, and with it the digits and the widths of columns."""
    return [" ".join(re.sub(r"\d+", "0", line).split()) for line in text.strip().splitlines()]


def examples() -> Iterator[tuple[str, str]]:
    """Each command and what follows it, in their order."""
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL):
        yield from re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)


def test_its_commands_print_what_it_says(run: Run, tmp_path: Path) -> None:
    (tmp_path / "docs").symlink_to(PROJECT / "docs")
    status, ran = 0, 0
    for command, printed in examples():
        if command == "echo $?":
            assert printed == f"{status}\n"
            continue
        words, _, target = command.partition(" > ")
        program, *arguments = shlex.split(words)
        assert program == "facebento"
        if arguments[0] in NOT_RUN:
            continue
        result = run(*arguments)
        status, ran = result.exit_code, ran + 1
        if target:
            Path(target).write_text(result.stdout)
        assert masked(result.stderr if target else result.stderr + result.stdout) == masked(printed), command
    assert ran > 5


def test_what_it_names_exists() -> None:
    options = {name for each in main.commands.values() for param in each.params for name in param.opts}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE)) <= options | {"--help", "--version"}
    assert set(re.findall(r"^\| `([a-z]+)", PAGE, re.MULTILINE)) <= set(main.commands)
    table = PAGE.partition("## Photos")[0]
    assert all(f"`{name}" in table or f"{name}`" in table for name in main.commands)
    assert all(isinstance(each, click.Command) and each.help for each in main.commands.values())
