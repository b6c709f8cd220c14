import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from bentoml._internal.configuration.containers import BentoMLContainer

from runners.sockets import keep_sockets


@pytest.fixture(autouse=True)
def _mapping() -> Iterator[None]:
    yield
    BentoMLContainer.remote_runner_mapping.reset()


def test_a_socket_is_reached_after_its_folder_is_deleted() -> None:
    # As short a path as BentoML's: the name of a socket has 107 bytes at most, which pytest's folders nearly take.
    with (
        tempfile.TemporaryDirectory() as temporary,
        socket.socket(socket.AF_UNIX) as listening,
        socket.socket(socket.AF_UNIX) as caller,
    ):
        folder = Path(temporary, "bentoml-uds")
        folder.mkdir()
        listening.bind(str(folder / "1.sock"))
        listening.listen()
        urls = {"detector": (folder / "1.sock").as_uri(), "facebento": "http://127.0.0.1:3000"}
        BentoMLContainer.remote_runner_mapping.set(urls)
        kept = keep_sockets()
        assert kept is not None
        assert kept.stat().st_mode & 0o077 == 0
        (folder / "1.sock").unlink()
        folder.rmdir()
        mapping = BentoMLContainer.remote_runner_mapping.get()
        assert mapping["facebento"] == "http://127.0.0.1:3000"
        caller.connect(urlsplit(mapping["detector"]).path)


def test_runners_elsewhere_are_left_alone() -> None:
    BentoMLContainer.remote_runner_mapping.set({"detector": "tcp://127.0.0.1:4000"})
    assert keep_sockets() is None
    assert BentoMLContainer.remote_runner_mapping.get() == {"detector": "tcp://127.0.0.1:4000"}
