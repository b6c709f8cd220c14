"""How fast the service is, against what the machine could do: a table, JSON and plots.

python -m bench.speed [--output FOLDER] [--only SECTION,...] [--detector ID] [--set "NAME=VALUE ..."]...
"""

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from api.settings import Settings
from bench import report
from bench.report import Report
from bench.speed import about, ratio, wrk
from bench.speed.ceiling import Ceiling
from bench.speed.results import Results
from bench.speed.run import Run
from bench.speed.service import running
from bench.speed.warm_up import OtherWorkError, same_work, warm_up
from models import store
from models.errors import ModelError

SECTIONS: Mapping[str, Sequence[Callable[[Run], None]]] = {
    "ceiling": [ratio.against_ceiling, ratio.alone],
}


def main() -> None:
    given = options().parse_args()
    try:
        wrk.program()
        models = [store.find(given.detector), store.find(given.embedder)]
        detector, embedder = ((model.description, model.read()) for model in models)
    except (wrk.WrkMissingError, ModelError) as error:
        sys.exit(f"Error: {error}")
    own = {"FACEBENTO_DETECTOR": given.detector, "FACEBENTO_EMBEDDER": given.embedder}
    variants = {name: {**own, **settings} for name, settings in given.set or [("default", {})]}
    cores = int(Settings.model_fields["threads"].get_default(call_default_factory=True))
    results = Results(about.describe(models, variants), Report("bench.speed"))
    with Ceiling(detector, embedder, cores) as ceiling, running(variants) as services:
        run = Run(
            services=services,
            ceiling=ceiling,
            detector=detector,
            embedder=embedder,
            results=results,
            rounds=given.rounds or (1 if given.quick else 5),
            seconds=given.seconds or (2 if given.quick else 8),
            clients=given.clients,
            quick=given.quick,
        )
        try:
            same_work(run)
            warm_up(run)
            for name in given.only:
                for section in SECTIONS[name]:
                    section(run)
        except (wrk.LoadError, OtherWorkError) as error:
            sys.exit(f"Error: {error}")
    print(results.text())
    if given.json is not None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(results.as_json(), indent=1) + "\n", encoding="utf-8")


def options() -> argparse.ArgumentParser:
    parser = report.options(__doc__)
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="keep the tables, JSON and plots there")
    parser.add_argument(
        "--only", type=_sections, default=list(SECTIONS), metavar="SECTION,...", help=f"of {', '.join(SECTIONS)}"
    )
    parser.add_argument("--rounds", type=int, help="of the comparisons with the ceiling (5)")
    parser.add_argument("--seconds", type=float, help="of each measurement (8)")
    parser.add_argument("--clients", type=_numbers, default=[1, 2, 4, 8, 16, 32, 64], help="of the curve over clients")
    parser.add_argument("--detector", default="centerface", metavar="ID", help="one of the store (centerface)")
    parser.add_argument("--embedder", default="dlib-resnet-v1", metavar="ID", help="one of the store (dlib-resnet-v1)")
    parser.add_argument(
        "--set",
        type=_variant,
        action="append",
        metavar='"NAME=VALUE ..."',
        help="settings of the service; given again, or empty for none, servers that are compared",
    )
    return parser


def _variant(text: str) -> tuple[str, dict[str, str]]:
    settings = dict(word.partition("=")[::2] for word in shlex.split(text))
    if {"FACEBENTO_DETECTOR", "FACEBENTO_EMBEDDER"} & settings.keys():
        raise argparse.ArgumentTypeError("models are chosen by --detector and --embedder, for the ceiling too")
    return text or "default", settings


def _sections(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - SECTIONS.keys():
        raise argparse.ArgumentTypeError(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    return names


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


if __name__ == "__main__":
    main()
