"""What can go wrong with an evaluation, each with a message that says what to do next.

EvaluationError
├── ListError         a list of pairs or boxes that can't be read, or names pictures that are not there
├── JournalError      another run is at work in the same folder
├── DrawingError      matplotlib is not installed
└── MeasurementError  an evaluation that can't be read, is of another embedder, or says too little for what is asked
"""


class EvaluationError(Exception):
    pass


class ListError(EvaluationError):
    pass


class JournalError(EvaluationError):
    pass


class DrawingError(EvaluationError):
    pass


class MeasurementError(EvaluationError):
    pass
