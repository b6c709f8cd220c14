"""What can go wrong with a runner.

RunnerError
├── DeviceUnavailableError  at start: CUDA was asked for, and there is none
├── RunnerUnavailableError  a runner is starting, stopping, gone or failing
├── RunnerBusyError         it has as much as it can do of what takes long
└── RunnerTimeoutError      it did not answer in time
"""

from bentoml.exceptions import BentoMLConfigException


class RunnerError(Exception): ...


class DeviceUnavailableError(RunnerError, BentoMLConfigException):
    """Of the kind that BentoML's commands end with in one line instead of a traceback."""


class RunnerUnavailableError(RunnerError): ...


class RunnerBusyError(RunnerError): ...


class RunnerTimeoutError(RunnerError): ...
