"""A score mapping that was measured: calibration.json, beside the graph of the model in the store, with a checksum.

It says how likeness is told, not what an embedding is: it is no part of the model's description, version or
fingerprint, and features made before it and after it can be compared.
"""

import datetime as dt
import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from faces.feature import ScoreMapping
from models.errors import CalibrationError

FILE = "calibration.json"


class _Measured(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MeasuredPoint(_Measured):
    """What a threshold on the cosine does: shares of the pairs that were measured."""

    cosine: float = Field(ge=-1, le=1)
    far: float = Field(ge=0, le=1)  # of the pairs of two people, those taken for one
    tar: float = Field(ge=0, le=1)  # of the pairs of one person, those taken for it
    accuracy: float = Field(ge=0, le=1)  # of all pairs, those judged rightly


class Calibration(_Measured):
    """fingerprint: of the embedder that was measured. chosen: how the operating point was."""

    fingerprint: str
    score: ScoreMapping
    chosen: str
    data: str
    same_pairs: int = Field(ge=0)
    different_pairs: int = Field(ge=0)
    date: dt.date
    points: tuple[MeasuredPoint, ...]


class _File(_Measured):
    calibration: dict[str, Any]
    sha256: str  # of the calibration's JSON: what was changed by hand would change every score


def read(folder: Path, model_id: str, fingerprint: str) -> Calibration | None:
    """The calibration in a model's folder; None if there is none.

    Raises CalibrationError where it is damaged, or is another embedder's.
    """
    file = folder / FILE
    remedy = f"Run: facebento models calibrate --reset --embedder {model_id}, and calibrate it again"
    try:
        written = _File.model_validate_json(file.read_bytes())
        calibration = Calibration.model_validate(written.calibration)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CalibrationError(f"{file} can't be read: {error.strerror}. {remedy}") from error
    except ValidationError as error:
        raise CalibrationError(f"{file} is damaged: {error.errors()[0]['msg']}. {remedy}") from error
    if written.sha256 != _sha256(written.calibration):
        raise CalibrationError(f"{file} is damaged: its checksum is not that of what it says. {remedy}")
    if calibration.fingerprint != fingerprint:
        raise CalibrationError(f"{file} was made for the embedder {calibration.fingerprint}, not for this. {remedy}")
    return calibration


def write(folder: Path, calibration: Calibration | None) -> None:
    """Put it into a model's folder, in one step, in place of what is there; None takes that away. Raises OSError."""
    file = folder / FILE
    if calibration is None:
        file.unlink(missing_ok=True)
        return
    content = calibration.model_dump(mode="json")
    # A name of its own: two may write at a time, and the later one wins.
    staged = file.with_name(f"{FILE}.{secrets.token_hex(8)}")
    try:
        with staged.open("x", encoding="utf-8") as new:
            json.dump({"calibration": content, "sha256": _sha256(content)}, new, indent=2)
            new.flush()
            os.fsync(new.fileno())
        staged.replace(file)
    finally:
        staged.unlink(missing_ok=True)


def _sha256(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
