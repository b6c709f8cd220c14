"""What a check has found."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """told: what is so; never a key. remedy: what to do about it, where it is not ok."""

    check: str
    state: Literal["ok", "warning", "problem"]
    told: str
    remedy: str = ""


def ok(check: str, told: str) -> Finding:
    return Finding(check, "ok", told)


def warning(check: str, told: str, remedy: str) -> Finding:
    """The service works, but not as somebody may think, or not under all loads."""
    return Finding(check, "warning", told, remedy)


def problem(check: str, told: str, remedy: str) -> Finding:
    """The service does not start, or not do what it is there for."""
    return Finding(check, "problem", told, remedy)
