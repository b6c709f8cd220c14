"""Of several GPUs, one for each process of a runner."""

import fcntl
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

log = logging.getLogger("facebento.runners")

POLL_S = 0.1


def claim(numbers: Sequence[int], service: str, folder: Path, *, at_most_s: float) -> int | None:
    """The place, from 0, of a device in `numbers` that no other process of the service has: it is this one's until it
    ends. None where all stay taken, or can't be claimed at all.

    BentoML's number of a process tells none: it is another one for each process that takes the place of one that died,
    and after SIGHUP for all.

    folder: for a file of each device, which is locked; of those who serve on this host, the same processes have a
    parent in common. at_most_s: to wait for a process that is being replaced.
    """
    end = time.monotonic() + at_most_s
    try:
        while True:
            for place, number in enumerate(numbers):
                if _lock(folder / f"facebento-{os.getppid()}-{service}-cuda-{number}"):
                    return place
            if time.monotonic() > end:
                log.warning("other processes of the %s have all of the devices %s: one has two now", service, numbers)
                return None
            time.sleep(POLL_S)
    except OSError as error:
        log.warning("devices can't be claimed, and are taken by the number of the process: %s", error)
        return None


def _lock(path: Path) -> bool:
    """Whether the file is this process's now, which holds it open for as long as it lives."""
    opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(opened)
        return False
    except OSError:
        os.close(opened)
        raise
    return True
