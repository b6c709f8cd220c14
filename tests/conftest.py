"""Pictures to test with, which come with scikit-image and matplotlib; an empty model store; the one browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import skimage.data
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from hypothesis import settings
from numpy.typing import NDArray
from PIL import Image
from schemathesis.pytest.plugin import SchemathesisFunction
from selenium.webdriver import Chrome
from xdist.scheduler import LoadScopeScheduling

from runners.onnx import cuda_devices
from tests.e2e import browsing

# The same examples each time, on a machine that may be busy; make fuzz asks for many, and others each time.
settings.register_profile("tests", derandomize=True, deadline=None, database=None)
settings.register_profile("many", max_examples=2000, deadline=None, database=None)
settings.load_profile("tests")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--original-models",
        metavar="DIR",
        type=Path,
        help="a folder with model files as published, by any name; tests of models that are not there take a stand-in",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Only where they are asked for, as by pytest -m image: images take minutes, and a browser comes by no pip.
    left_out = [mark for mark in ("image", "browser") if config.option.markexpr != mark]
    if not cuda_devices():
        left_out.append("gpu")
    deselected = [item for item in items if any(map(item.get_closest_marker, left_out))]
    config.hook.pytest_deselected(items=deselected)
    dropped = set(deselected)
    items[:] = [item for item in items if item not in dropped]
    for item in items:
        # Schemathesis and pytest 9.2 give the tests of all operations one id, and xdist runs but one of each id.
        if isinstance(item, SchemathesisFunction):
            item._id = item.id.with_params(item.operation_label)
    if len({item.nodeid for item in items}) < len(items):
        raise pytest.UsageError("two tests have one id, and xdist would run only one of them")
    # What takes long begins first, and the server that most tests share is stopped last.
    items.sort(key=lambda item: (PROCESSES.index(process(item.nodeid)), item.nodeid.startswith(LAST)))


# Tests of these start, stop and break servers of their own, and have no use for the one that the others of e2e share.
OWN_SERVERS = (
    "tests/deploy/test_chart_split.py",
    "tests/e2e/test_faults.py",
    "tests/e2e/test_keys.py",
    "tests/e2e/test_other_models.py",
    "tests/e2e/test_tracing.py",
)
LAST = "tests/e2e/test_stopping.py"

# They share the bentos, and have a second one of the shared servers: so that one process is not the last.
SECOND_SERVER = (
    "tests/e2e/test_bento.py",
    "tests/e2e/test_commands.py",
    "tests/e2e/test_containerize.py",
)

PROCESSES = ("shared server", "own servers", "second server", None)


def process(nodeid: str) -> str | None:
    """With what a test must share its process; None: with those of its file alone."""
    file = nodeid.partition("::")[0]
    if file in OWN_SERVERS:
        return "own servers"
    if file.startswith(SECOND_SERVER):
        return "second server"
    return "shared server" if file.startswith("tests/e2e/") else None


class ServersApart(LoadScopeScheduling):
    """One process has the tests that share a server, one those that share another, one those with servers of their own.

    More servers at a time the cores could hardly bear. The files without a server go where there is time: while those
    with servers of their own wait for one to start, to notice or to end, a third process has the cores.
    """

    def _split_scope(self, nodeid: str) -> str:
        return process(nodeid) or nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ServersApart:
    config.option.loadscopereorder = False  # as they were sorted, not by the number of tests
    return ServersApart(config, log)


@pytest.fixture(scope="session")
def astronaut() -> NDArray[np.uint8]:
    """Eileen Collins: uint8 [512, 512, 3], RGB; one face, about 100 pixels wide."""
    return np.asarray(skimage.data.astronaut())  # type: ignore[no-untyped-call]


@pytest.fixture(scope="session")
def grace_hopper() -> NDArray[np.uint8]:
    """Grace Hopper: uint8 [606, 512, 3], RGB; one face."""
    with Image.open(Path(mpl.get_data_path(), "sample_data", "grace_hopper.jpg")) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="session")
def cat() -> NDArray[np.uint8]:
    """Chelsea, a cat: uint8 [300, 451, 3], RGB; no human face."""
    return np.asarray(skimage.data.chelsea())  # type: ignore[no-untyped-call]


@pytest.fixture(scope="session")
def photo(astronaut: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A piece of a photograph that decodes quickly, and that no turn or flip leaves as it is: uint8 [60, 80, 3]."""
    return np.ascontiguousarray(astronaut[80:200:2, 160:320:2])


@pytest.fixture(scope="session")
def browser() -> Iterator[Chrome]:
    with browsing.browser() as driver:
        yield driver


@pytest.fixture
def store_folder(tmp_path: Path) -> Iterator[Path]:
    """An empty model store in place of the user's."""
    folder = tmp_path / "bentoml" / "models"
    folder.mkdir(parents=True)
    BentoMLContainer.model_store.set(ModelStore(folder))
    yield folder
    BentoMLContainer.model_store.reset()
