"""The models inside the API process and in processes of their own: the same answers, and who is replaced by whom."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import psutil
import pytest

from tests.e2e.running import PROJECT, NewServer, Server, encoded, environment

pytestmark = pytest.mark.e2e

PHOTO = (PROJECT / "docs" / "images" / "astronaut.jpg").read_bytes()
ANOTHER = Path(mpl.get_data_path(), "sample_data", "grace_hopper.jpg").read_bytes()
SERVICES = {"facebento", "detector", "embedder"}


def boxes(faces: list[dict[str, Any]]) -> list[list[float]]:
    assert faces
    return [[*each["boundingBox"].values(), each["confidence"]] for each in faces]


def served(server: Server) -> list[str]:
    """What BentoML started a process for, by service."""
    assert server.process is not None
    found = []
    for process in psutil.Process(server.process.pid).children(recursive=True):
        words = process.cmdline() if process.status() != psutil.STATUS_ZOMBIE else []
        found += [words[place + 1] for place, word in enumerate(words) if word == "--service-name"]
    return found


@pytest.mark.parametrize("photo", [PHOTO, ANOTHER], ids=["photo", "another"])
def test_the_same_answers_wherever_the_models_run(server: Server, batching_server: Server, photo: bytes) -> None:
    image = {"image": photo}
    one, other = (each.answer("/v1/file/detect", files=image)["faces"] for each in (server, batching_server))
    assert np.allclose(boxes(one), boxes(other), rtol=0, atol=0.5)
    one, other = (
        each.answer("/v1/multi-embeddings", json={"image": encoded(photo)})["embeddings_info_list"]
        for each in (server, batching_server)
    )
    assert len(one) == len(other) >= 1
    for mine, its in zip(one, other, strict=True):
        assert np.dot(mine["embeddings"], its["embeddings"]) >= 0.9999
    pair = {"image1": PHOTO, "image2": photo}
    one, other = (each.answer("/v1/file/score", files=pair) for each in (server, batching_server))
    assert one["score"] == pytest.approx(other["score"], abs=1e-4)


def test_who_has_a_process(server: Server, batching_server: Server) -> None:
    assert set(served(server)) == {"facebento"}
    assert sorted(served(batching_server)) == sorted([*SERVICES, "facebento"])  # it was told to have two
    for each in (server, batching_server):
        assert each.read("/v1/info/server")["runners"].keys() == {"detector", "embedder"}


# What BentoML asks the service, told of a host that may have a GPU.
ASKS = """
import service
from _bentoml_sdk import Service
packed = service.FaceService
configured = service.configured
for placement in ("auto", "inside", "processes"):
    for on_cpu in (True, False):
        service.configured = configured.model_copy(update={"placement": placement})
        service.cpu_only = lambda device: on_cpu
        serve = ",".join(sorted(packed.all_services(exclude_urls=True)))
        build = ",".join(sorted(packed.all_services()))
        named = packed.find_dependent_by_name("detector").name
        print(placement, on_cpu, serve, build, named)
"""


def test_only_a_server_of_its_own_leaves_the_runners_out_and_only_inside(new_server: NewServer) -> None:
    server = new_server()
    asked = subprocess.run(
        [sys.executable, "-c", ASKS],
        cwd=server.folder,
        env=environment(server.folder, server.home),
        capture_output=True,
        text=True,
        check=True,
    )
    every = "detector,embedder,facebento"
    assert asked.stdout.splitlines() == [
        f"{placement} {on_cpu} {'facebento' if inside else every} {every} detector"
        for placement, on_cpu, inside in (
            ("auto", True, True),
            ("auto", False, False),
            ("inside", True, True),
            ("inside", False, True),
            ("processes", True, False),
            ("processes", False, False),
        )
    ]
