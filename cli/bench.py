"""`facebento bench`: how fast this machine, or a service that runs, answers.

What it needs takes a second to import, so it is imported when the command runs.
"""
# ruff: noqa: PLC0415

import contextlib
import json
import sys
from dataclasses import asdict, dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import click

from cli import home, options
from cli.home import service_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from api.settings import Settings
    from cli.speed import Measured

CLIENTS: Final = (1, 4, 16)
MUCH_OF_A_CORE: Final = 0.3
KEY_VARIABLE: Final = "FACEBENTO_API_KEY"
OVERLOADED: Final = "429"


@dataclass
class Figures:
    machine: str
    service: dict[str, Any]  # as /v1/info/server tells
    measured: "list[Measured]" = field(default_factory=list)
    stages_ms: dict[str, dict[str, float]] = field(default_factory=dict)  # by endpoint, of one client alone
    others_cores: float = 0.0  # CPU seconds a second that other programs of the client's machine took meanwhile


@click.command()
@options.photos(required=False)
@click.option("--url", help="A service that runs. Default: one of its own, started for this and ended after it.")
@click.option(
    "--key",
    envvar=KEY_VARIABLE,
    show_envvar=True,
    help="The key for --url; better in the variable, since other users may see a command line. Default, for a service "
    "on this machine: one of the settings.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, 3600, min_open=True),
    default=60,
    show_default=True,
    help="For all measurements together.",
)
@click.option(
    "--clients",
    type=click.IntRange(1, 1024),
    multiple=True,
    default=CLIENTS,
    show_default=True,
    help="At a time; may be given again.",
)
@options.as_json("One JSON object, for machines.")
@click.pass_context
def bench(
    context: click.Context,
    *,
    photos: tuple[str, ...],
    url: str | None,
    key: str | None,
    seconds: float,
    clients: tuple[int, ...],
    as_json: bool,
) -> None:
    """Measure in a minute how fast this machine serves: detect, embed and score over HTTP.

    With the settings of the service, on PHOTO... or a photograph of 512 pixels with one face. The client runs beside
    the service, and takes a little of its cores. Exit code 1 if any answer was an error.

    `make bench` takes a quarter of an hour and tells more: curves, and what the machine could do at best.
    """
    from bench.usage import OthersMeter
    from cli.speed import Target, run, stages_ms

    contents = _contents(photos)
    with contextlib.ExitStack() as stack:
        log: Path | None = None
        configured = service_settings()
        if url is None:
            from cli.own_service import models_folder, own_service

            click.echo("Starting a service ...", err=True)
            service = stack.enter_context(own_service(home.HOME, models_folder(configured)))
            target, log = Target(service.url, service.key), service.log
        else:
            target = Target(url, key or _own_key(configured, url))
        figures = _figures(target)
        begun, others = 0, OthersMeter()
        with _progress(3 * len(clients)) as began:

            def next_one(endpoint: str, count: int) -> None:
                nonlocal begun
                begun = 0 if log is None else log.stat().st_size
                began(endpoint, count)

            for measured in run(target, contents, clients=clients, seconds=seconds, began=next_one):
                figures.measured.append(measured)
                if log is not None and measured.clients == 1:
                    figures.stages_ms[measured.endpoint] = stages_ms(log, begun)
        figures.others_cores = round(others.cores(), 2)
    if as_json:
        from bench.report import finite

        click.echo(json.dumps(finite(asdict(figures)), indent=2))
    else:
        _print(figures, service_here=url is None)
    if any(OVERLOADED in each.errors for each in figures.measured):
        click.echo(
            f"{OVERLOADED}: more came at a time than the service takes on. Photos that show nobody are searched for "
            "small faces, few at a time: set FACEBENTO_SMALL_FACES=never for the service, or ask with fewer --clients",
            err=True,
        )
    if any(each.errors for each in figures.measured):
        context.exit(1)


def _contents(photos: "Sequence[str]") -> list[bytes]:
    from cli.photos import find, shown
    from faces.errors import InputError

    if not photos:
        return [(home.HOME / home.PICTURE).read_bytes()]
    contents = []
    for source in find(photos):
        try:
            contents.append(source.read().content)
        except InputError as error:
            raise click.ClickException(f"{shown(source.name)}: {error}") from error
    return contents


def _own_key(configured: "Settings", url: str) -> str:
    """One of the settings that stands there as it is sent, for this machine alone: elsewhere somebody else would have
    it. Raises click's error where there is none.
    """
    if not _is_here(url):
        raise click.UsageError(f"give the service's key in {KEY_VARIABLE}: those of the settings stay on this machine")
    texts = configured.api_keys.get_secret_value().split(",")
    if configured.api_keys_file is not None:
        with contextlib.chdir(home.HOME):
            texts += configured.api_keys_file.read_text(encoding="utf-8-sig").splitlines()
    keys = configured.keys()
    for text in texts:
        entry = text.strip().partition(" ")[0]
        for candidate in (entry, entry.partition("=")[2]):
            found = keys.find(candidate.encode()) if candidate else None
            if found is not None and not found.expired:
                return candidate
    raise click.UsageError(f"give the service's key in {KEY_VARIABLE}: the settings hold none that can be sent")


def _is_here(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # another name, or no address
        return False


def _figures(target: Any) -> Figures:
    import asyncio

    from bench import machine

    return Figures(machine.describe(), asyncio.run(target.about()))


@contextlib.contextmanager
def _progress(total: int) -> "Iterator[Callable[[str, int], None]]":
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:24}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False, transient=True) as bar:
        task = bar.add_task("", total=total)
        begun = 0

        def began(endpoint: str, count: int) -> None:
            nonlocal begun
            bar.update(task, completed=begun, description=f"{endpoint}, {count} client{'' if count == 1 else 's'}")
            begun += 1

        yield began


def _print(figures: Figures, *, service_here: bool) -> None:
    from cli.photos import printable
    from cli.table import print_table

    service = figures.service
    click.echo(f"Client on {figures.machine}")
    told = f"{service['version']}, {service['device']} ({service['execution_provider']})"
    click.echo(f"Service: facebento {printable(told)}\n")
    rows: list[tuple[str, ...]] = [("", "CLIENTS", "A SECOND", "P50 MS", "P95 MS", "P99 MS", "ANSWERS", "ERRORS")]
    for each in figures.measured:
        times = (f"{ms:.0f}" if each.answers else "-" for ms in (each.p50_ms, each.p95_ms, each.p99_ms))
        errors = ", ".join(f"{count} x {what}" for what, count in each.errors.items()) or "none"
        rate = f"{each.requests_a_second:.1f}"
        rows.append((each.endpoint, str(each.clients), rate, *times, str(each.answers), errors))
    print_table(rows)
    click.echo()
    for line in _words(figures):
        click.echo(line)
    if service_here and figures.others_cores > MUCH_OF_A_CORE:
        click.echo(
            f"\nOther programs took {figures.others_cores:.1f} cores meanwhile: measure again when they are quiet"
        )


def _words(figures: Figures) -> "Iterator[str]":
    for endpoint in dict.fromkeys(each.endpoint for each in figures.measured):
        of_it = [each for each in figures.measured if each.endpoint == endpoint and each.answers]
        if not of_it:
            yield f"{endpoint}: no answer was right"
            continue
        best = max(of_it, key=lambda each: each.requests_a_second)
        fewest = min(of_it, key=lambda each: each.clients)
        yield (
            f"{endpoint}: {best.requests_a_second:.1f} a second at the most, with {best.clients} "
            f"client{'' if best.clients == 1 else 's'}; an answer takes {fewest.p50_ms:.0f} ms with {fewest.clients}"
        )
        if stages := figures.stages_ms.get(endpoint):
            yield "  " + ", ".join(f"{name} {ms:g}" for name, ms in stages.items() if ms >= 0.1) + " ms"
