"""Bentos as a user makes them: BentoML's own commands, in a clone of the project that has a commit."""

import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.e2e.running import PROJECT, Server, encoded, environment, make_server
from tests.repository import commit_all

# Of the code in these clones, so that an answer shows whose code gave it.
VERSION = "0.0.1.of.the.clone"


@dataclass(frozen=True)
class Ended:
    status: int
    output: str

    def report(self) -> str:
        """Its last words, without what BentoML says of its own on the way."""
        lines = [line for line in self.output.splitlines() if not line.startswith(("INFO: ", "WARNING: "))]
        return "\n".join(lines).strip()


@dataclass(frozen=True)
class Started:
    process: "subprocess.Popen[str]"

    def end(self) -> Ended:
        output, _ = self.process.communicate(timeout=150)
        return Ended(self.process.returncode, output)


@dataclass(frozen=True)
class Clone:
    folder: Path
    home: Path  # its BENTOML_HOME
    commit: str
    key: str = field(default_factory=lambda: f"fb_{secrets.token_urlsafe(32)}")  # the one in its .env

    def start(
        self, *arguments: str, at: Path | None = None, variables: Mapping[str, str] = MappingProxyType({})
    ) -> Started:
        """One of BentoML's commands, in the clone or at another place."""
        process = subprocess.Popen(
            [Path(sys.executable).with_name("bentoml"), *arguments],
            cwd=at or self.folder,
            env={**environment(self.folder, self.home), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return Started(process)

    def run(
        self, *arguments: str, at: Path | None = None, variables: Mapping[str, str] = MappingProxyType({})
    ) -> Ended:
        return self.start(*arguments, at=at, variables=variables).end()

    def bento(self, version: str) -> Path:
        return self.home / "bentos" / "facebento" / version

    def with_home(self, home: Path) -> "Clone":
        """The same clone, with other models."""
        return Clone(self.folder, home, self.commit, self.key)


def make_clone(folder: Path) -> Clone:
    """A clone with a key in its .env, and the store's models in its BENTOML_HOME."""
    made = make_server(folder, {})
    (made.folder / "api" / "__init__.py").write_text(f'"""A clone."""\n\n__version__ = "{VERSION}"\n', encoding="utf-8")
    shutil.copy(PROJECT / ".gitignore", made.folder)
    clone = Clone(made.folder, made.home, commit_all(made.folder))
    (clone.folder / ".env").write_text(f"FACEBENTO_API_KEYS={clone.key}\n", encoding="utf-8")
    return clone


def answers(server: Server, picture: bytes) -> dict[str, Any]:
    """What a client gets to see of a service."""
    body = {"json": {"image": encoded(picture)}}
    paths = ["/v1/info/server", "/v1/info/model", "/v1/info/model/centerface", "/v1/info/model/dlib-resnet-v1"]
    return {
        **{path: server.answer(path, **body) for path in ("/v1/detect", "/v1/embeddings", "/v1/feature")},
        **{path: server.read(path) for path in [*paths, "/v1/health", "/openapi.json"]},
    }


def no_network() -> list[str]:
    """What to put before a command that is to reach nothing but itself. Empty where the system doesn't permit it."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return []
    command = [unshare, "--map-root-user", "--net"]
    return command if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0 else []
