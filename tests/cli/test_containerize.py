"""What loading the command brings along; what it does is in tests/e2e/test_containerize.py."""

import subprocess
import sys


def test_bentoml_loads_it_without_the_code_that_a_bento_has_of_its_own() -> None:
    # Every command of BentoML loads it first. What is in sys.modules by then, `bentoml serve facebento:TAG` would take
    # in place of the bento's modules of the same names: from this working copy, of another version.
    own = {"api", "faces", "models", "pipeline", "runners", "service", "stages"}
    program = f"import sys, cli.containerize; print(*{own} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
