"""What a bento takes in: models that are there, undamaged and free to be passed on, and labels that say what it is."""

import datetime as dt
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import click
from bentoml._internal.bento.bento import BentoModelInfo
from bentoml.models import BentoModel
from pydantic import BaseModel, BeforeValidator, ConfigDict

from models.errors import ChecksumError, PackingError, StorageError
from models.store import StoredModel

Waiver = Literal["missing", "altered", "unlicensed"]

# SPDX identifiers of licences under which anybody may pass a model on, and sell what holds it. A licence that is not
# among them, or a sentence in place of an identifier, is for a person to read first.
REDISTRIBUTABLE = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC-BY-4.0",
        "CC0-1.0",
        "CDLA-Permissive-1.0",
        "CDLA-Permissive-2.0",
        "ISC",
        "MIT",
        "MIT-0",
        "PDDL-1.0",
        "Unlicense",
        "Zlib",
    }
)


def _words(text: object) -> object:
    return [word.strip() for word in text.split(",") if word.strip()] if isinstance(text, str) else text


class BentoArguments(BaseModel):
    """The `--arg NAME=VALUE` of BentoML's commands.

    detector, embedder: the models that a bento was built with, which it serves where no setting names others.
    allow: what `bentoml build` is to put up with, separated by commas.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    detector: str | None = None
    embedder: str | None = None
    allow: Annotated[frozenset[Waiver], BeforeValidator(_words)] = frozenset()


class Reference(BentoModel):
    """A model by its tag, for a service. Names a model that is not stored, too: BentoML would ask its cloud for it."""

    def to_info(self, alias: str | None = None) -> BentoModelInfo:
        if self.stored is None:
            return BentoModelInfo(self.tag, creation_time=dt.datetime.fromtimestamp(0, dt.UTC), alias=alias)
        info: BentoModelInfo = super().to_info(alias)
        return info


def without_it(allow: frozenset[Waiver]) -> str:
    """How to build a bento without a model that is not stored: the end of a message; empty where none is built."""
    context = click.get_current_context(silent=True)
    if context is None or context.info_name != "build":
        return ""
    return f". To build a bento without it: --arg allow={_flags({'missing', *allow})}"


def check(models: Sequence[StoredModel], allow: frozenset[Waiver]) -> None:
    """Raises PackingError, with a line for each model that is damaged or may not be passed on and why, but for what
    is allowed. A model that is not stored can't be checked: whoever looked for it has said so.
    """
    found: list[tuple[Waiver, str]] = []
    for model in models:
        licence = model.description.licence
        if licence not in REDISTRIBUTABLE:
            reason = "which is not known to let you pass it on, and a bento holds a copy of it. Read it before you do"
            found.append(("unlicensed", f"{model.tag} has the licence {licence!r}, {reason}."))
        if model.path.parent.exists():
            try:
                model.verify()
            except ChecksumError as error:
                found.append(("altered", str(error)))
            except StorageError as error:  # its graph was deleted, or can't be read
                found.append(("altered", f"{model.tag} is damaged: {error}."))
    refused = [(waiver, text) for waiver, text in found if waiver not in allow]
    if refused:
        flags = _flags({waiver for waiver, _ in refused} | allow)
        lines = "\n".join(text for _, text in refused)
        raise PackingError(f"no bento is built:\n{lines}\nTo build one nevertheless: --arg allow={flags}")


def _flags(waivers: Iterable[str]) -> str:
    return ",".join(sorted(waivers))


def labels(models: Sequence[StoredModel], allow: frozenset[Waiver], project: Path) -> dict[str, str]:
    """The labels of a bento of these models, built in the folder of the project."""
    told = {"git_commit": commit(project)}
    for model in models:
        told[model.description.role] = model.description.id
        told[f"{model.description.role}_licence"] = model.description.licence
    if allow:
        told["allowed"] = ",".join(sorted(allow))
    return told


def commit(project: Path) -> str:
    """The commit that is checked out, with `-dirty` behind it if any file differs that git does not ignore, or is new;
    `unknown` without git.
    """
    git = shutil.which("git")
    if git is None or not (project / ".git").exists():
        return "unknown"

    def ask(*arguments: str) -> str:
        command = [git, "-C", str(project), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603  no word of it is foreign

    head = ask("rev-parse", "--verify", "--quiet", "HEAD")
    if not head:
        return "unknown"
    return head + ("-dirty" if ask("status", "--porcelain") else "")
