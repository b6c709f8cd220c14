"""What can be wrong with what a client sent, as far as pixels and vectors go.

InputError
├── ImageError
│   ├── ImageCorruptError            the bytes are not a readable picture
│   ├── ImageUnsupportedFormatError  neither JPEG, PNG, WebP nor plain BMP
│   ├── ImageTooManyPixelsError      refused from its header, before a pixel is decoded, as the next three are
│   ├── ImageSideTooLongError
│   ├── ImageTooNarrowError          one side many times the other: no face could be seen in it
│   ├── ImageTooManyScansError       a JPEG that is small, and would take minutes to decode
│   └── ImageWrongSizeError          an aligned crop was asked for and this is something else
└── FeatureError
    ├── FeatureInvalidError          damaged, truncated, not a feature, or a vector without a direction
    └── FeatureModelMismatchError    features of two embedders, which no number can compare
"""

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(Exception):
    """Base of all. The message is meant for the client: it says what is wrong and what to send instead."""

    field: str | None = None  # the request's field that is to blame, once that is known


class ImageError(InputError): ...


class ImageCorruptError(ImageError): ...


class ImageUnsupportedFormatError(ImageError): ...


class ImageTooManyPixelsError(ImageError): ...


class ImageSideTooLongError(ImageError): ...


class ImageTooNarrowError(ImageError): ...


class ImageTooManyScansError(ImageError): ...


class ImageWrongSizeError(ImageError): ...


class FeatureError(InputError): ...


class FeatureInvalidError(FeatureError): ...


class FeatureModelMismatchError(FeatureError): ...


@contextmanager
def blamed_on(field: str) -> Iterator[None]:
    """Names the request's field in an InputError raised inside."""
    try:
        yield
    except InputError as error:
        error.field = field
        raise
