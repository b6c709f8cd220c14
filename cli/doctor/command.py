"""`facebento doctor`.

What it needs takes a second to import, so it is imported when the command runs.
"""
# ruff: noqa: PLC0415

import json
from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING, Final

import click

from cli import home, options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.doctor.finding import Finding

COLOURS: Final = {"ok": "green", "warning": "yellow", "problem": "red"}


@click.command()
@click.option(
    "--port", default=3000, show_default=True, type=click.IntRange(1, 65535), help="The port to be served on."
)
@options.as_json("One JSON object, for machines.")
@click.pass_context
def doctor(context: click.Context, *, port: int, as_json: bool) -> None:
    """Check this installation, and say what to do about what is amiss.

    Python and its packages, settings and keys, memory, disk and port, the models, the GPU and its driver; then one
    picture all the way. Nothing is changed, and no key is shown. Exit code 1 if there is a problem; warnings are none.
    """
    found: list[Finding] = []
    for finding in _findings(port):
        found.append(finding)
        if not as_json:
            _print(finding)
    count = {state: sum(each.state == state for each in found) for state in COLOURS}
    if as_json:
        told = {
            "problems": count["problem"],
            "warnings": count["warning"],
            "findings": [asdict(each) for each in found],
        }
        click.echo(json.dumps(told, indent=2))
    else:
        click.echo(f"\n{count['ok']} ok, {count['warning']} to know of, {count['problem']} to mend")
    if count["problem"]:
        context.exit(1)


def _findings(port: int) -> "Iterator[Finding]":
    from cli.doctor import configuration

    yield from _check("installation", home.HOME)
    configured, told = configuration.read(home.HOME)
    yield from told
    if configured is None:
        return
    yield from _check("configuration", configured, home.HOME)
    yield from _check("machine", configured, port)
    yield from _check("device", configured)
    models = list(_check("stored", configured))
    yield from models
    if not any(each.state == "problem" for each in models):
        yield from _check("trial", configured, home.HOME)


def _check(name: str, *given: object) -> "Iterator[Finding]":
    """What the module of that name finds. One that fails itself, or can't be imported, is no reason to leave out the
    others.
    """
    from cli.doctor.finding import problem

    try:
        yield from import_module(f"cli.doctor.{name}").check(*given)
    except Exception as error:  # noqa: BLE001  a broken installation breaks anything
        told = f"could not be looked at: {type(error).__name__}: {error}"
        yield problem(name, told, "Mend what is told above; if all of that is ok, this is a bug: report it")


def _print(finding: "Finding") -> None:
    state = click.style(f"{finding.state:<8}", fg=COLOURS[finding.state])
    click.echo(f"{state} {finding.check}: {finding.told}")
    if finding.remedy:
        click.echo(f"         -> {finding.remedy}")
