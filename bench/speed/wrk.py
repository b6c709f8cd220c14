"""The load: wrk, a compiled client that leaves the cores to the service, and what it tells."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("post.lua")
TIMEOUT_S = 60  # twice the service's own deadline
THREADS_FROM = 64  # clients: one thread of wrk sends and reads some thousand requests a second


class WrkMissingError(Exception):
    """There is no wrk."""


class LoadError(Exception):
    """A request was not answered as it must be, or wrk did not run."""


@dataclass(frozen=True, slots=True)
class Load:
    """What so many clients got, each of whom asks again as soon as it is answered."""

    clients: int
    seconds: float  # that it lasted
    answers: int
    refused: int  # of the answers, those with a status of 400 or more
    latencies: tuple[float, ...]  # ms, of all answers; rising


def program() -> str:
    """Where wrk is. Raises WrkMissingError."""
    found = shutil.which("wrk")
    if found is None:
        raise WrkMissingError(
            "wrk is not installed, and the load comes from it: a client in Python would take the cores that it "
            "measures. Run: apt-get install wrk"
        )
    return found


def load(url: str, *, body: Path, key: str, clients: int, seconds: float) -> Load:
    """Posts the file's content to the url for as long as told, in whole seconds.

    Raises LoadError where a connection broke, or nothing was answered.
    """
    command = [program(), f"-t{1 if clients < THREADS_FROM else 2}", f"-c{clients}", f"-d{max(1, round(seconds))}s"]
    command += [f"--timeout={TIMEOUT_S}s", f"--script={SCRIPT}", url, "--", str(body), key]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own words
    if done.returncode:
        raise LoadError(f"wrk ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return parse(done.stdout, clients)


def parse(output: str, clients: int) -> Load:
    """What post.lua wrote at the end. Raises LoadError."""
    lines = [line for line in output.splitlines() if line.startswith("FIGURES ")]
    if not lines:
        raise LoadError(f"wrk told no figures: {output.strip()}")
    words = lines[-1].split()[1:]
    duration_us, requests, *errors, refused = map(int, words[:7])
    names = ("not connected", "not read", "not written", "timed out")
    if any(errors):
        told = ", ".join(f"{count} {name}" for name, count in zip(names, errors, strict=True) if count)
        raise LoadError(f"besides {requests} answers to {clients} clients: {told}")
    if not requests:
        raise LoadError(f"no request of {clients} clients was answered in {duration_us / 1e6:.0f} s")
    counts = {int(us): int(count) for us, _, count in (word.partition(":") for word in words[7:])}
    measured = uncorrected(counts, expected=duration_us // (requests // clients) if requests >= clients else 0)
    latencies = tuple(us / 1000 for us, count in sorted(measured.items()) for _ in range(count))
    return Load(clients, duration_us / 1e6, requests, refused, latencies)


def uncorrected(counts: dict[int, int], *, expected: int) -> dict[int, int]:
    """The latencies that were measured, of those that wrk tells.

    wrk adds to what it measured: for each answer that took longer than twice what is `expected`, those that clients
    with a fixed rate would have waited for meanwhile (stats_correct in its stats.c). Clients here have no fixed rate.
    counts: microseconds -> how many.
    """
    counts = dict(counts)
    for us in sorted(counts, reverse=True):
        if not expected or us < 2 * expected:
            break
        for earlier in range(us - expected, expected, -expected):
            if earlier in counts:
                counts[earlier] -= counts[us]
    return {us: count for us, count in counts.items() if count}
