"""How fast the service is, against what the machine could do: tables, JSON and plots.

    python -m bench.speed [--output FOLDER] [--only SECTION,...] [--detector ID] [--set "NAME=VALUE ..."]...

Ends with status 1 where a request was not answered well; figures that are missed are told, and are no failure.
"""

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import get_args

from api.settings import Settings
from bench import report
from bench.report import Report
from bench.speed import about, curves, device, engines, ratio, wrk
from bench.speed.ceiling import Ceiling
from bench.speed.keeping import keep, keep_json
from bench.speed.requests import requests
from bench.speed.results import Results
from bench.speed.run import Plan, Run
from bench.speed.service import running
from bench.speed.start import starts
from bench.speed.warm_up import OtherWorkError, same_work, warm_up
from models import store
from models.errors import ModelError
from runners.opening import GpuEngine

# While no server runs, and then while all of them do.
UNSERVED: Mapping[str, Sequence[Callable[[Plan], None]]] = {
    "start": [starts],
    "engines": [engines.engines],
    "network": [engines.network],
}
SERVED: Mapping[str, Sequence[Callable[[Run], None]]] = {
    "ceiling": [ratio.against_ceiling, ratio.alone],
    "clients": [curves.over_clients],
    "requests": [requests],
    "faces": [curves.over_faces],
    "sizes": [curves.over_sizes],
    "device": [device.against_device],
    "batches": [device.batches],
}
SECTIONS = (*UNSERVED, *SERVED)
OF_A_GPU = ("network", "device", "batches")  # bench/gpu.sh asks for them


def main() -> None:
    given = options().parse_args()
    try:
        if any(name in given.only for name in SERVED):
            wrk.program()  # before anything takes its time
        plan = planned(given)
    except (wrk.WrkMissingError, ModelError) as error:
        sys.exit(f"Error: {error}")
    failed: str | None = None
    try:
        measure(plan, given.only)
    except (wrk.LoadError, OtherWorkError) as error:
        failed = f"Error: {error}"
    if given.output is not None:
        keep(plan.results, given.output)
    if given.json is not None:
        keep_json(plan.results, given.json)
    print(plan.results.text())
    sys.exit(failed)


def planned(given: argparse.Namespace) -> Plan:
    """Raises models.errors.ModelError."""
    models = [store.find(given.detector), store.find(given.embedder)]
    own = {"FACEBENTO_DETECTOR": given.detector, "FACEBENTO_EMBEDDER": given.embedder}
    variants = {name: {**own, **settings} for name, settings in given.set or [("default", {})]}
    return Plan(
        variants=variants,
        detector=(models[0].description, models[0].read()),
        embedder=(models[1].description, models[1].read()),
        cores=int(Settings.model_fields["threads"].get_default(call_default_factory=True)),
        results=Results(about.describe(models, variants), Report("bench.speed")),
        rounds=given.rounds or (1 if given.quick else 5),
        seconds=given.seconds or (2 if given.quick else 8),
        clients=given.clients,
        gpu_engines=given.gpu_engines,
        quick=given.quick,
    )


def measure(plan: Plan, names: Sequence[str]) -> None:
    """Raises bench.speed.wrk.LoadError, bench.speed.warm_up.OtherWorkError."""
    for name in UNSERVED:
        if name in names:
            _tell(name)
            for section in UNSERVED[name]:
                section(plan)
    if served := [name for name in SERVED if name in names]:
        _serve(plan, served)


def _serve(plan: Plan, names: Sequence[str]) -> None:
    with Ceiling(plan.detector, plan.embedder, plan.cores) as ceiling, running(plan.variants) as services:
        given = {field.name: getattr(plan, field.name) for field in dataclasses.fields(plan)}
        run = Run(**given, services=services, ceiling=ceiling)
        same_work(run)
        warm_up(run)
        for name in names:
            _tell(name)
            for section in SERVED[name]:
                section(run)


def _tell(name: str) -> None:
    print(f"{name} ...", file=sys.stderr, flush=True)


def options() -> argparse.ArgumentParser:
    parser = report.options(__doc__)
    default = [name for name in SECTIONS if name not in OF_A_GPU]
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="keep JSON, a page and plots there")
    parser.add_argument(
        "--only",
        type=_sections,
        default=default,
        metavar="SECTION,...",
        help=f"of {', '.join(SECTIONS)}; by default all but {', '.join(OF_A_GPU)}",
    )
    parser.add_argument("--rounds", type=int, help="of the comparisons with the ceiling (5)")
    parser.add_argument("--seconds", type=float, help="of a measurement (8)")
    parser.add_argument("--clients", type=_numbers, default=[1, 2, 4, 8, 16, 32, 64], help="of curves over clients")
    parser.add_argument("--detector", default="centerface", metavar="ID", help="one of the store (centerface)")
    parser.add_argument("--embedder", default="dlib-resnet-v1", metavar="ID", help="one of the store (dlib-resnet-v1)")
    parser.add_argument(
        "--gpu-engines",
        type=_gpu_engines,
        default=["cuda", "cuda-fp16"],
        metavar="ENGINE,...",
        help="that the sections engines and network measure on a GPU: cuda, cuda-fp16, tensorrt (the first two)",
    )
    parser.add_argument(
        "--set",
        type=_variant,
        action="append",
        metavar='"NAME=VALUE ..."',
        help='settings of the service; given again ("": the defaults), servers that are compared in one run',
    )
    return parser


def _variant(text: str) -> tuple[str, dict[str, str]]:
    words = shlex.split(text)
    if not all("=" in word for word in words):
        raise argparse.ArgumentTypeError(f"settings are NAME=VALUE, and not {text}")
    settings = dict(word.split("=", 1) for word in words)
    if {"FACEBENTO_DETECTOR", "FACEBENTO_EMBEDDER"} & settings.keys():
        raise argparse.ArgumentTypeError("models are chosen by --detector and --embedder, for the ceiling too")
    return text or "default", settings


def _sections(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(SECTIONS):
        raise argparse.ArgumentTypeError(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    return names


def _gpu_engines(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(get_args(GpuEngine)):
        raise argparse.ArgumentTypeError(f"no GPU engine {', '.join(sorted(unknown))}")
    return names


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


if __name__ == "__main__":
    main()
