"""The runners' Unix sockets: where they are, and under names that last as long as the process that uses them."""

import logging
import os
import shutil
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import bentoml
from bentoml._internal.configuration.containers import BentoMLContainer

log = logging.getLogger("facebento.runners")


def unix_sockets() -> dict[str, Path]:
    """Of the services that `bentoml serve` started, by name; none where they are on TCP or in this process."""
    mapping = BentoMLContainer.remote_runner_mapping.get()
    return {name: Path(url2pathname(urlsplit(url).path)) for name, url in mapping.items() if url.startswith("file:")}


def keep_sockets() -> Path | None:
    """Link the runners' sockets into a folder of this process's own, and let BentoML use the links.

    On SIGTERM `bentoml serve` deletes the folder of its sockets first, and stops its processes after that: whatever an
    API process still has in work could not reach a runner any more, though it listens. To be called before the first
    access to a dependency.

    Returns the folder, to be deleted when the process is done. None where there are no sockets or none can be linked:
    then requests in flight are lost on SIGTERM, and all else works.
    """
    sockets = unix_sockets()
    if not sockets:
        return None
    # Beside them, since a hard link can't leave the file system; and named so that the process that replaces a killed
    # one finds what that left.
    beside = next(iter(sockets.values())).parent.parent
    folder = beside / f"facebento-sockets-{os.getppid()}-{bentoml.server_context.worker_index}"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(mode=0o700)
        for name, socket in sockets.items():
            os.link(socket, folder / name)
    except OSError as error:
        log.warning("the runners' sockets can't be linked: requests in work are lost on SIGTERM: %s", error)
        shutil.rmtree(folder, ignore_errors=True)
        return None
    links = {name: (folder / name).as_uri() for name in sockets}
    BentoMLContainer.remote_runner_mapping.set({**BentoMLContainer.remote_runner_mapping.get(), **links})
    return folder
