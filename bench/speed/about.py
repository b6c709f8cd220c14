"""What a run was made on and with."""

import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version

from bench import machine
from models.store import StoredModel
from runners import onnx
from tests.e2e.running import PROJECT


def describe(models: Sequence[StoredModel], variants: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    settings = "; ".join(" ".join(f"{name}={value}" for name, value in each.items()) for each in variants.values())
    return {
        "machine": machine.describe(),
        "GPU": _told("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader") or "none",
        "kernel": platform.release(),
        "versions": f"Python {platform.python_version()}, onnxruntime {onnx.version()}, BentoML {version('bentoml')}",
        "models": ", ".join(model.tag for model in models),
        "settings": settings,
        "commit": _commit(),
    }


def _commit() -> str:
    commit = _told("git", "-C", str(PROJECT), "rev-parse", "--short=12", "HEAD") or "unknown"
    return commit + ("-dirty" if _told("git", "-C", str(PROJECT), "status", "--porcelain") else "")


def _told(program: str, *arguments: str) -> str:
    """What it prints; nothing where there is no such program, or it fails."""
    found = shutil.which(program)
    if found is None:
        return ""
    done = subprocess.run([found, *arguments], capture_output=True, text=True, check=False)  # noqa: S603  our own words
    return done.stdout.strip().replace("\n", "; ") if done.returncode == 0 else ""
