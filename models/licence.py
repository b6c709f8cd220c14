"""Licences that restrict what a model may be used for: shown, accepted by a person, remembered with the model."""

import datetime as dt
from collections.abc import Callable

from models.catalog import Frozen, ModelDescription
from models.errors import LicenceNotAcceptedError


class Acceptance(Frozen):
    """That somebody accepted these terms, and when. `terms` is where their text stood."""

    licence: str
    terms: str | None
    accepted_at: dt.datetime


def agree(
    description: ModelDescription, tell: Callable[[str], None], *, accept: bool, command: str
) -> Acceptance | None:
    """None for a licence that nobody has to accept.

    `tell` takes the terms. LicenceNotAcceptedError, which names the command that accepts, unless told to `accept`.
    """
    if not description.acceptance:
        return None
    tell(f"{description.id}: licence: {description.licence}")
    if description.terms:
        tell(f"{description.id}: terms: {description.terms}")
    if not accept:
        raise LicenceNotAcceptedError(
            f"the licence of {description.id} restricts what it may be used for. Read its terms and, if you accept "
            f"them, run: {command} --accept-license"
        )
    return Acceptance(licence=description.licence, terms=description.terms, accepted_at=dt.datetime.now(dt.UTC))


def check(description: ModelDescription, accepted: Acceptance | None, remedy: str) -> None:
    """LicenceNotAcceptedError if these terms have to be accepted and were not. `remedy` ends its message."""
    if not description.acceptance:
        return
    if accepted is None or (accepted.licence, accepted.terms) != (description.licence, description.terms):
        raise LicenceNotAcceptedError(f"nobody has accepted the licence of {description.id}. {remedy}")
