"""What can go wrong with a model, each with a message that says what to do next.

ModelError
├── UnknownModelError        an id that neither the catalog nor the store has
├── ModelNotStoredError      a known model that has not been pulled or imported
├── DescriptionError         a description that can't be read or makes no sense
├── LicenceNotAcceptedError  a licence that restricts the use of a model, and nobody said that they accept it
├── DownloadError            a file that did not come, or came otherwise than described
│   ├── IndexUnreachableError    no answer from any package index
│   ├── PackageNotFoundError     the index answered, and has no such release
│   ├── AddressUnreachableError  no answer from the host of an address
│   └── FileNotThereError        the host answered, or the folder is there, and has no such file
├── ChecksumError            bytes that are not the ones described
│   └── DescriptionChangedError  a description in the store that is not the one that was stored
├── MemberMissingError       an archive without the file that was to be taken out of it
├── CalibrationError         a calibration that is damaged, or is another embedder's
├── StorageError             a disk that is full or can't be written or read
├── WeightsError             a weights file of another kind, or a truncated one
├── GraphMismatchError       a graph that does not fit its description
├── BatchMismatchError       a graph whose answers depend on a row's neighbours
└── PackingError             a model that a bento must not take in
"""

from bentoml.exceptions import BentoMLException


class ModelError(BentoMLException):
    """Of the kind that BentoML's commands end with in one line instead of a traceback."""


class UnknownModelError(ModelError):
    pass


class ModelNotStoredError(ModelError):
    pass


class DescriptionError(ModelError):
    pass


class LicenceNotAcceptedError(ModelError):
    pass


class DownloadError(ModelError):
    pass


class IndexUnreachableError(DownloadError):
    pass


class PackageNotFoundError(DownloadError):
    pass


class AddressUnreachableError(DownloadError):
    pass


class FileNotThereError(DownloadError):
    pass


class ChecksumError(ModelError):
    pass


class DescriptionChangedError(ChecksumError):
    pass


class MemberMissingError(ModelError):
    pass


class CalibrationError(ModelError):
    pass


class StorageError(ModelError):
    pass


class WeightsError(ModelError):
    pass


class GraphMismatchError(ModelError):
    pass


class BatchMismatchError(ModelError):
    pass


class PackingError(ModelError):
    pass


def first_line(error: Exception) -> str:
    """What another library says, without the pages that it may add."""
    return str(error).strip().partition("\n")[0]
