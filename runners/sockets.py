"""The runners' sockets under names that last as long as the process that uses them."""

import os
import tempfile
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from bentoml._internal.configuration.containers import BentoMLContainer


def keep_sockets() -> Path | None:
    """Link the Unix sockets of the runners into a folder of this process's own, and let BentoML use the links.

    On SIGTERM `bentoml serve` deletes the folder of its sockets first, and stops its processes after that: whatever an
    API process still has in work could not reach a runner any more, though it listens. To be called before the first
    access to a dependency.

    Returns the folder, to be deleted when the process is done; None where the runners are on TCP or in this process.
    """
    mapping = BentoMLContainer.remote_runner_mapping.get()
    sockets = {name: Path(url2pathname(urlsplit(url).path)) for name, url in mapping.items() if url.startswith("file:")}
    if not sockets:
        return None
    # Beside them: a hard link can't leave the file system.
    folder = Path(tempfile.mkdtemp(prefix="facebento-sockets-", dir=next(iter(sockets.values())).parent.parent))
    for name, socket in sockets.items():
        os.link(socket, folder / name)
    links = {name: (folder / name).as_uri() for name in sockets}
    BentoMLContainer.remote_runner_mapping.set({**mapping, **links})
    return folder
