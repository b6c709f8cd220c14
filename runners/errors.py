"""What can go wrong with a runner.

RunnerError
├── DeviceUnavailableError  at start: CUDA was asked for, and there is none
├── RunnerUnavailableError  a runner is starting, stopping, gone or failing
└── RunnerTimeoutError      it did not answer in time
"""


class RunnerError(Exception): ...


class DeviceUnavailableError(RunnerError): ...


class RunnerUnavailableError(RunnerError): ...


class RunnerTimeoutError(RunnerError): ...
