"""Pictures for the commands that look at photos, and their pipeline, opened once."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

import cli.local
from api.settings import Settings
from cli import home
from cli.local import served_pipeline
from cli.main import main
from pipeline import Pipeline

Pixels = NDArray[np.uint8]
Run = Callable[..., Result]


@pytest.fixture(scope="session")
def opened() -> Pipeline:
    """With the real starter models."""
    return served_pipeline(Settings(device="cpu", threads=2, decode_threads=2))


@pytest.fixture
def run(opened: Pipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs `facebento`, in an empty folder, without settings. The pipeline is the opened one."""
    monkeypatch.setattr(cli.local, "served_pipeline", lambda *_, **__: opened)
    monkeypatch.setattr(home.service_settings, "__defaults__", (tmp_path,))
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object, stdin: bytes | None = None) -> Result:
        return CliRunner().invoke(main, [str(each) for each in arguments], input=stdin)

    return invoke


@pytest.fixture
def photos(tmp_path: Path, astronaut: Pixels, grace_hopper: Pixels, cat: Pixels) -> Path:
    """A folder: two people, a cat, a broken picture, and what is to be passed over."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "a.jpg").write_bytes(encoded(astronaut))
    (folder / "b.PNG").write_bytes(encoded(cat, "PNG"))
    (folder / "more" / "a.jpg").write_bytes(encoded(grace_hopper))
    (folder / "broken.jpg").write_bytes(encoded(astronaut)[:2000])
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden" / "a.jpg").write_bytes(encoded(cat))
    (folder / ".hidden.jpg").write_bytes(encoded(cat))
    return folder


def encoded(pixels: Pixels, fmt: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, fmt, **options)
    return file.getvalue()
