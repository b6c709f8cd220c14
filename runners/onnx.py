"""Runs prepared graphs. The only importer of onnxruntime: devices, providers, sessions."""

import ctypes
import logging
import os
from collections.abc import Sequence
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


def version() -> str:
    return str(ort.__version__)


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


def choose_device(device: str) -> str:
    """`auto`, `cpu`, `cuda` or `cuda:N` -> `cpu` or `cuda:N`.

    Raises DeviceUnavailableError where CUDA is asked for and absent.
    """
    if device == "cpu":
        return "cpu"
    devices = cuda_devices()
    if device == "auto" and devices == 0:
        return "cpu"
    index = int(device.partition(":")[2] or 0)
    if index >= devices:
        raise DeviceUnavailableError(
            f"The device {device} was asked for, and the NVIDIA driver offers {devices or 'none'}. Check nvidia-smi, "
            "give the container its GPU, or set FACEBENTO_DEVICE to auto or cpu."
        )
    return f"cuda:{index}"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a session really runs."""

    device: str  # cpu, cuda:0, ...
    provider: str  # onnxruntime's name of it


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


def open_session(graph: Path | bytes, device: str) -> Session:
    """graph: an ONNX file, or what is in it. device: auto, cpu, cuda or cuda:N. Raises DeviceUnavailableError."""
    chosen = choose_device(device)
    options = ort.SessionOptions()
    # Rows run side by side on threads of the engine: a thread pool inside each run would only fight with them.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if chosen != "cpu":
        ort.preload_dlls()
        # TF32 would round what convolutions multiply to 10 bits: features made on a GPU and on a CPU would differ.
        cuda = (CUDA, {"device_id": chosen.partition(":")[2], "use_tf32": "0"})
        try:
            session = _session(graph, options, [cuda, CPU])
            # Where a CUDA library is missing or does not fit the driver, onnxruntime takes the CPU without a word.
            if session.get_providers()[0] == CUDA:
                return Session(session, Placement(chosen, CUDA))
            reason = "its libraries are missing or do not fit the driver (onnxruntime's log has more)"
        except Exception as error:  # noqa: BLE001  onnxruntime's own are of many unrelated kinds
            reason = str(error)
        if device != "auto":
            raise DeviceUnavailableError(
                f"The device {device} was asked for, and CUDA could not be loaded: {reason}. Install "
                "requirements/serve-cuda.txt, or set FACEBENTO_DEVICE to auto or cpu."
            )
        log.warning("There is an NVIDIA GPU, and CUDA could not be loaded: %s. Running on the CPU.", reason)
    return Session(_session(graph, options, [CPU]), Placement("cpu", CPU))


def _session(
    graph: Path | bytes, options: ort.SessionOptions, providers: Sequence[str | tuple[str, dict[str, str]]]
) -> ort.InferenceSession:
    # enable_fallback: a session that fails on the GPU would go on, without a word, on the CPU.
    return ort.InferenceSession(graph, options, providers=providers, enable_fallback=0)
