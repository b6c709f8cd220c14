"""Runs prepared graphs. The only importer of onnxruntime: devices, providers, sessions."""

import ctypes
import importlib
import logging
import math
import mmap
import os
import re
import uuid
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runners.errors import DeviceUnavailableError

# onnxruntime reports to its makers from the moment it is imported, unless this is set.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort

log = logging.getLogger("facebento.runners")

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"

_TENSORRT_REMEDY = "Install tensorrt-cu13 10 beside requirements/serve-cuda.txt, or set FACEBENTO_GPU_ENGINE to cuda."
_PORTABLE = 1  # cudaHostRegisterPortable: for every device and thread


def version() -> str:
    return str(ort.__version__)


def providers() -> list[str]:
    """What the onnxruntime that is installed was built with, whether this machine has it or not."""
    return [str(name) for name in ort.get_available_providers()]


def cuda_libraries() -> bool:
    """Whether those of CUDA and cuDNN can be loaded, from the packages that are installed or from the system."""
    ort.preload_dlls()
    major = ort.cuda_version.partition(".")[0]
    try:
        for library in (f"libcudart.so.{major}", f"libcublas.so.{major}", "libcudnn.so.9"):
            ctypes.CDLL(library)
    except OSError:
        return False
    return True


def cuda_devices() -> int:
    """How many CUDA devices the host's driver offers; 0 without a driver. Asks the driver, not onnxruntime, whose
    list of providers names what it was built with.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def choose_device(device: str, worker: int = 1) -> str:
    """`auto`, `cpu`, `cuda`, `cuda:N` or `cuda:N,M` -> `cpu` or `cuda:N`.

    worker: which of the processes of a runner it is for, from 1; of several devices they take one each.

    Raises DeviceUnavailableError where CUDA is asked for and absent.
    """
    if cpu_only(device):
        return "cpu"
    there = cuda_devices()
    wanted = device_numbers(device)
    if max(wanted) >= there:
        raise DeviceUnavailableError(
            f"The device {device} was asked for, and the NVIDIA driver offers {there or 'none'}. Check nvidia-smi, "
            "give the container its GPU, or set FACEBENTO_DEVICE to auto or cpu."
        )
    return f"cuda:{wanted[(worker - 1) % len(wanted)]}"


def cpu_only(device: str) -> bool:
    """Whether what is asked for can only be the CPU, on this host."""
    return device == "cpu" or (device == "auto" and cuda_devices() == 0)


def device_numbers(device: str) -> list[int]:
    """Of the GPUs that are asked for: 1 and 3 for cuda:1,3, and the first one where no number is told."""
    return [int(number) for number in (device.partition(":")[2] or "0").split(",")]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a session really runs."""

    device: str  # cpu, cuda:0, ...
    provider: str  # onnxruntime's name of it
    precision: str = "fp32"  # of the network: fp32 or fp16


class Session:
    """A prepared graph on its device, opened. Thread-safe."""

    def __init__(self, session: ort.InferenceSession, placement: Placement) -> None:
        self.placement = placement
        self._session = session
        graph_input = session.get_inputs()[0]
        self._input: str = graph_input.name
        self.row: tuple[int, ...] = tuple(graph_input.shape[1:])

    def run(self, rows: NDArray[np.uint8]) -> NDArray[np.float32]:
        """rows: uint8 [n, *row], n > 0. Returns float32 [n, ...]. Raises errors of onnxruntime, of no common kind."""
        answers: NDArray[np.float32] = self._session.run(None, {self._input: rows})[0]
        return answers


def cpu_session(graph: bytes) -> Session:
    """graph: what is in an ONNX file. For any number of rows."""
    return Session(_session(graph, _options(), [CPU]), Placement("cpu", CPU))


def cuda_session(graph: bytes, device: str, *, rows: int, precision: str = "fp32") -> Session:
    """For that many rows at a time, and no other number: onnxruntime keeps the plans of its convolutions for the one
    shape that it met last, and makes them all anew for another (its issue 23006: 15 times slower).

    device: cuda:N. precision: what the graph's network is in.

    Raises DeviceUnavailableError.
    """
    ort.preload_dlls()
    options = _options()
    options.add_free_dimension_override_by_name("n", rows)
    cuda = {
        "device_id": _number(device),
        # TF32 would round what convolutions multiply to 10 bits: features made on a GPU and on a CPU would differ.
        # Without it onnxruntime keeps off the tensor cores altogether, also for halves, which are there for them.
        "use_tf32": "0" if precision == "fp32" else "1",
        # By default the arena grows to the next power of two: twice the memory that the sessions of a device need.
        "arena_extend_strategy": "kSameAsRequested",
    }
    placement = Placement(device, CUDA, precision)
    remedy = "Install requirements/serve-cuda.txt, or set FACEBENTO_DEVICE to auto or cpu."
    return Session(_on_gpu(graph, options, [(CUDA, cuda), CPU], remedy), placement)


def load_tensorrt() -> str:
    """Its release. Raises DeviceUnavailableError."""
    ort.preload_dlls()
    try:
        release: str = importlib.import_module("tensorrt").__version__  # its libraries are loaded with it
    except Exception as error:  # what a broken library raises is of many kinds
        raise DeviceUnavailableError(
            f"TensorRT was asked for, and could not be loaded: {error}. {_TENSORRT_REMEDY}"
        ) from error
    return release


def tensorrt_session(graph: bytes, device: str, *, rows: int, engines: Path | None, left_out: Sequence[str]) -> Session:
    """For that many rows at a time, in 16-bit floats. Where there is no engine for this GPU yet, it takes minutes.

    device: cuda:N. engines: a folder for engines, of this graph alone; None: they are built at every start.
    left_out: types of nodes that TensorRT is to leave to CUDA, in 32 bits.

    Raises DeviceUnavailableError.
    """
    release = load_tensorrt()
    options = _options()
    # Fixed shapes, since those of a range have to be told for each part that TensorRT takes of the graph.
    options.add_free_dimension_override_by_name("n", rows)
    tensorrt = {
        "device_id": _number(device),
        "trt_fp16_enable": "1",
        "trt_op_types_to_exclude": ",".join(left_out),
        # Where nodes are left out, what is between them is not worth an engine, and is to stay in 32 bits.
        "trt_min_subgraph_size": "16",
    }
    if engines is not None:
        # onnxruntime calls an engine by its graph and the GPU's architecture. It is good for one size of a batch and
        # one release of TensorRT, and best on the model of GPU that it was tuned on. By the number of the GPU too:
        # the processes of several start at one time, and would write the same files.
        key = f"{gpu_name(device)}-{_number(device)}-tensorrt-{release}-onnxruntime-{version()}"
        folder = engines / re.sub(r"[^\w.-]+", "-", key) / str(rows)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            log.warning("TensorRT's engines can't be kept in %s, and are built at every start: %s", folder, error)
        else:
            tensorrt |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder)}
            tensorrt |= {"trt_timing_cache_enable": "1", "trt_timing_cache_path": str(folder.parent)}
    cuda = {"device_id": _number(device), "use_tf32": "0", "arena_extend_strategy": "kSameAsRequested"}
    session = _on_gpu(graph, options, [(TENSORRT, tensorrt), (CUDA, cuda), CPU], _TENSORRT_REMEDY)
    return Session(session, Placement(device, TENSORRT, "fp16"))


def gpu_name(device: str) -> str:
    """What its maker calls a device, cuda:N: NVIDIA H100 80GB HBM3, say."""
    driver = ctypes.CDLL("libcuda.so.1")
    handle, name = ctypes.c_int(0), ctypes.create_string_buffer(256)
    driver.cuInit(0)
    if driver.cuDeviceGet(ctypes.byref(handle), int(_number(device))) or driver.cuDeviceGetName(name, 256, handle):
        return "unknown"
    return name.value.decode(errors="replace")


def gpu_uuid(device: str) -> str:
    """A device, cuda:N, as the driver calls it wherever it stands in a list; empty where it does not tell."""
    driver = ctypes.CDLL("libcuda.so.1")
    handle, number = ctypes.c_int(0), (ctypes.c_ubyte * 16)()
    driver.cuInit(0)
    if driver.cuDeviceGet(ctypes.byref(handle), int(_number(device))) or driver.cuDeviceGetUuid_v2(number, handle):
        return ""
    return str(uuid.UUID(bytes=bytes(number)))


def pinned(shape: tuple[int, ...], device: str) -> NDArray[np.uint8]:
    """Memory that a device, cuda:N, reads by itself while the host goes on: uint8 of that shape.

    Where it can't be had, other memory, which the driver copies once more.
    """
    buffer = np.frombuffer(mmap.mmap(-1, math.prod(shape)), np.uint8).reshape(shape)
    try:
        runtime = ctypes.CDLL(f"libcudart.so.{ort.cuda_version.partition('.')[0]}")
        pointer, size = ctypes.c_void_p(buffer.ctypes.data), ctypes.c_size_t(buffer.nbytes)
        failed = runtime.cudaSetDevice(int(_number(device))) or runtime.cudaHostRegister(pointer, size, _PORTABLE)
        if failed:
            runtime.cudaGetLastError()  # or onnxruntime would take the error for one of its own
        else:
            weakref.finalize(buffer, runtime.cudaHostUnregister, pointer).atexit = False
    except (OSError, AttributeError) as error:
        failed = error
    if failed:
        log.warning("no memory can be pinned for %s, copies to it take longer: %s", device, failed)
    return buffer


def _number(device: str) -> str:
    return device.partition(":")[2]


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    # Rows run side by side on threads of the engine: a thread pool inside each run would only fight with them.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _on_gpu(
    graph: bytes, options: ort.SessionOptions, providers: Sequence[str | tuple[str, Mapping[str, str]]], remedy: str
) -> ort.InferenceSession:
    wanted = providers[0][0]
    try:
        session = _session(graph, options, providers)
        # Where a library is missing or does not fit the driver, onnxruntime takes the next provider without a word.
        if session.get_providers()[0] == wanted:
            return session
        reason = "its libraries are missing or do not fit the driver (onnxruntime's log has more)"
    except Exception as error:  # noqa: BLE001  onnxruntime's own are of many unrelated kinds
        reason = str(error)
    name = "TensorRT" if wanted == TENSORRT else "CUDA"
    raise DeviceUnavailableError(f"{name} was asked for, and could not be loaded: {reason}. {remedy}")


def _session(
    graph: bytes, options: ort.SessionOptions, providers: Sequence[str | tuple[str, Mapping[str, str]]]
) -> ort.InferenceSession:
    # enable_fallback: a session that fails on the GPU would go on, without a word, on the CPU.
    return ort.InferenceSession(graph, options, providers=providers, enable_fallback=0)
