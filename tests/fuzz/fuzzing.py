"""What the fuzzers share: libFuzzer's options, a folder for the corpus, and how a finding is told.

atheris wants the process to itself, and what is to be instrumented must not be imported before: each fuzzer is a module
to be run, and tests/fuzz/test_fuzz.py runs them for a short while.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import atheris

MEGABYTES = 1536  # of resident memory: libFuzzer ends the run beyond
SLOWEST_S = 10  # for one input


def fuzz(target: Callable[[bytes], object], corpus: Iterable[bytes], *, longest: int) -> None:
    """Call the target with ever new inputs, made of the corpus, until the time or the number that was asked for is up.

    Whatever the target raises is a finding: it ends the process with a traceback, and leaves the input in a file
    beginning with `crash-`; `timeout-` and `oom-` are inputs that took too long or too much memory.
    """
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="how long (60)")
    parser.add_argument(
        "--runs", type=int, default=-1, help="how many inputs; as many as there is time for, if left out"
    )
    parser.add_argument("--seed", type=int, default=1, help="another one, another way through the inputs (1)")
    parser.add_argument("--findings", type=Path, default=Path("build"), help="the folder for inputs that fail (build)")
    parser.add_argument("inputs", nargs="*", type=Path, help="files to try instead: findings, say")
    asked = parser.parse_args()
    if asked.inputs:
        for path in asked.inputs:
            target(path.read_bytes())
        return
    asked.findings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for number, file in enumerate(corpus):
            Path(folder, str(number)).write_bytes(file)
        options = [
            f"-max_total_time={asked.seconds}",
            f"-runs={asked.runs}",
            f"-seed={asked.seed}",
            f"-max_len={longest}",
            f"-timeout={SLOWEST_S}",
            f"-rss_limit_mb={MEGABYTES}",
            f"-artifact_prefix={asked.findings}/",
            "-reload=0",  # else it may read the corpus anew as it goes, and a slow machine takes another way
            "-print_final_stats=1",
            folder,
        ]
        atheris.Setup([sys.argv[0], *options], target)
        atheris.Fuzz()
