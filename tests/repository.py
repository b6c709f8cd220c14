"""Git repositories that tests make, whatever the user's git is set up to do."""

import os
import shutil
import subprocess
from pathlib import Path


def git(folder: Path, *arguments: str) -> str:
    """What git prints, run in that folder."""
    program = shutil.which("git")
    assert program is not None
    own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    who = {f"GIT_{role}_{what}": "nobody@example.com" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        [program, *arguments], cwd=folder, env={**os.environ, **own, **who}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commit_all(folder: Path) -> str:
    """Makes the folder a repository with all of it in one commit, and answers which."""
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all")
    return git(folder, "rev-parse", "HEAD")
