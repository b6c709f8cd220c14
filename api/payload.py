"""The bytes that a request carries: base64 in JSON, a file in a form."""

import binascii
import re
from dataclasses import dataclass

from api.errors import Base64Error

_DATA_URL = re.compile(r"data:image/[^;,]{1,64}(?:;[^;,]{1,64}){0,4};base64,", re.IGNORECASE)


@dataclass(slots=True)
class Payload:
    """One field of a request, and what came in it. Not decoded before `read`, which may take milliseconds at first."""

    field: str
    content: str | bytes  # base64 text, or the file's bytes

    def read(self) -> bytes:
        """The bytes. Raises Base64Error."""
        if isinstance(self.content, str):
            try:
                self.content = decode_base64(self.content)
            except Base64Error as error:
                error.field = self.field
                raise
        return self.content


def decode_base64(text: str) -> bytes:
    """Strict base64 (RFC 4648, section 4: its alphabet, padded), with line breaks and a data:image/... prefix allowed.

    Raises Base64Error.
    """
    prefix = _DATA_URL.match(text)
    digits = (text[prefix.end() :] if prefix else text).replace("\r", "").replace("\n", "")
    problem = Base64Error(
        "This is not base64. Send the bytes in the standard alphabet with padding; neither URLs nor paths are read."
    )
    if len(digits) % 4 or digits.endswith("==="):  # Python 3.11 lets padding that is too long pass
        raise problem
    try:
        return binascii.a2b_base64(digits, strict_mode=True)
    except ValueError:
        raise problem from None
