"""The GPU: its driver, its memory, who else uses it."""

from collections.abc import Iterator
from typing import Any, Final

import pynvml

from api.settings import Settings
from cli.doctor.finding import Finding, ok, problem, warning
from runners import onnx

GIB: Final = 2**30
OLDEST_DRIVER: Final = 580  # of CUDA 13
ROOM_BYTES: Final = 2 * GIB  # for both models with their usual batches
INSTALL: Final = "pip install --require-hashes -r requirements/serve-cuda.txt, or: make serve on this host"


def check(configured: Settings) -> Iterator[Finding]:
    device = configured.device
    if device == "cpu":
        yield ok("device", "the CPU, as FACEBENTO_DEVICE=cpu says")
        return
    there = onnx.cuda_devices()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        yield _without_driver(device, there, str(error))
        return
    try:
        yield from _gpus(device, there)
    finally:
        pynvml.nvmlShutdown()


def _without_driver(device: str, there: int, reason: str) -> Finding:
    if there:
        return warning("device", f"{there} CUDA devices, of which NVML tells nothing: {reason}", "See nvidia-smi")
    if device == "auto":
        return ok("device", "the CPU: there is no NVIDIA driver, and FACEBENTO_DEVICE=auto does without")
    return problem(
        "device",
        f"FACEBENTO_DEVICE is {device}, and there is no NVIDIA driver: {reason}",
        "Install the driver, give the container its GPU (--gpus all), or set FACEBENTO_DEVICE to auto or cpu",
    )


def _gpus(device: str, there: int) -> Iterator[Finding]:
    # With auto the service starts on the CPU where the GPU can't be used.
    amiss = warning if device == "auto" else problem
    version = str(pynvml.nvmlSystemGetDriverVersion())
    if _major(version) < OLDEST_DRIVER:
        yield amiss(
            "NVIDIA driver",
            f"{version} is too old for CUDA 13",
            f"Install a driver of the {OLDEST_DRIVER} series or newer, or set FACEBENTO_DEVICE to cpu",
        )
    else:
        yield ok("NVIDIA driver", version)
    wanted = onnx.device_numbers(device)
    if max(wanted) >= there:
        yield amiss(
            "device",
            f"FACEBENTO_DEVICE is {device}, and CUDA offers {there or 'none'}",
            "See nvidia-smi and CUDA_VISIBLE_DEVICES, give the container its GPU, or set another device",
        )
        return
    if onnx.CUDA not in onnx.providers():
        yield amiss("CUDA", "the onnxruntime that is installed was built without it", INSTALL)
    if not onnx.cuda_libraries():
        yield amiss("CUDA", "its libraries, or those of cuDNN, can't be loaded", INSTALL)
    else:
        yield ok("CUDA", "its libraries can be loaded")
    for number in wanted:
        yield _memory(number)


def _memory(number: int) -> Finding:
    """By CUDA's numbers; where CUDA_VISIBLE_DEVICES hides or sorts some, NVML's may be others."""
    handle: Any = pynvml.nvmlDeviceGetHandleByIndex(number)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    others = [str(each.pid) for each in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)]
    used = f", used by processes {', '.join(others)}" if others else ""
    name = pynvml.nvmlDeviceGetName(handle)
    told = f"{name}, {memory.free / GIB:.1f} of {memory.total / GIB:.1f} GiB free{used}"
    if memory.free < ROOM_BYTES:
        return warning(
            f"cuda:{number}",
            told,
            "End what else uses it, take another GPU, or lower FACEBENTO_DETECTOR_BATCH_SIZE and "
            "FACEBENTO_EMBEDDER_BATCH_SIZE",
        )
    return ok(f"cuda:{number}", told)


def _major(version: str) -> int:
    number = version.partition(".")[0]
    return int(number) if number.isdecimal() else 0
