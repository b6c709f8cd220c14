"""Python and its packages, against the lock."""

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cli.doctor.finding import Finding, ok, problem, warning

OLDEST: Final = (3, 11)
# Each brings the package onnxruntime, and overwrites what another one brought.
RUNTIMES: Final = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
MOST_NAMED: Final = 6


def check(home: Path) -> Iterator[Finding]:
    yield _python()
    yield _runtimes()
    for name in ("serve.txt", "pull.txt"):
        lock = home / "requirements" / name
        if lock.is_file():
            yield _locked(lock)
    yield _together()


def _python() -> Finding:
    told = f"Python {sys.version.partition(' ')[0]}, {sys.executable}"
    if sys.version_info < OLDEST:
        return problem("python", told, "Python 3.11 or newer is needed: make clean, then make serve PYTHON=python3.11")
    return ok("python", told)


def _runtimes() -> Finding:
    there = [f"{name} {version}" for name in RUNTIMES if (version := _version(name)) is not None]
    if not there:
        return problem("onnxruntime", "it is not installed", "make serve")
    if len(there) > 1:
        return problem(
            "onnxruntime",
            f"{' and '.join(there)} are both installed, and their files lie over each other",
            f"pip uninstall --yes {' '.join(RUNTIMES[:2])}, then: pip install --require-hashes -r "
            "requirements/serve.txt",
        )
    return ok("onnxruntime", there[0])


def _locked(lock: Path) -> Finding:
    check = f"packages of {lock.name}"
    wanted = list(_requirements(lock.read_text(encoding="utf-8")))
    missing, other = [], []
    for requirement in wanted:
        version = _version(requirement.name)
        if version is None:
            missing.append(requirement.name)
        elif not requirement.specifier.contains(version, prereleases=True):
            other.append(f"{requirement.name} {version} (locked: {str(requirement.specifier).removeprefix('==')})")
    remedy = f"pip install --require-hashes -r requirements/{lock.name}, or: make clean, then make serve"
    if missing:
        # Without those of pull.txt no model can be pulled, but those that are stored are served.
        found = warning if lock.name == "pull.txt" else problem
        return found(check, f"{len(missing)} of {len(wanted)} are missing: {_named(missing)}", remedy)
    if other:
        return warning(check, f"{len(other)} of {len(wanted)} have another version: {_named(other)}", remedy)
    return ok(check, f"all {len(wanted)} are there, in the versions that are locked")


def _together() -> Finding:
    """As pip check looks at it: what each package that is there asks for."""
    at_odds = []
    for each in metadata.distributions():
        for line in each.requires or ():
            requirement = Requirement(line)
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
            version = _version(requirement.name)
            if version is None:
                at_odds.append(f"{each.name} needs {requirement.name}, which is missing")
            elif not requirement.specifier.contains(version, prereleases=True):
                at_odds.append(f"{each.name} needs {requirement.name}{requirement.specifier}, and {version} is there")
    if at_odds:
        return warning("packages together", _named(at_odds), "pip check tells all; make clean, then make serve")
    return ok("packages together", "each finds what it asks for")


def _requirements(text: str) -> Iterator[Requirement]:
    """Those of a lock file that are for this machine."""
    for line in text.splitlines():
        if line and line[0] not in " #-":
            requirement = Requirement(line.removesuffix("\\").strip())
            if requirement.marker is None or requirement.marker.evaluate():
                yield requirement


def _version(name: str) -> str | None:
    try:
        return metadata.version(canonicalize_name(name))
    except metadata.PackageNotFoundError:
        return None


def _named(names: list[str]) -> str:
    rest = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")
