"""Runs prepared graphs. The only importer of onnxruntime: providers, sessions, batch buckets, warm-up."""

import ctypes
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
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
LOST_AFTER = 5  # runs in a row of which no row could be run: a shortage of memory may pass, a lost device does not


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


class Engine:
    """One prepared graph: uint8 [n, ...] in, float32 [n, ...] out, the same for every n.

    On a CPU each row runs alone, on as many threads as told: a batch of eight takes longer than eight single images
    there, since the activations leave the cache. On a GPU rows run as a batch, padded to one of a few sizes that were
    all run once before: CUDA tunes its convolutions anew for every shape it meets.
    """

    def __init__(self, graph: Path | bytes, *, device: str, threads: int, max_batch: int) -> None:
        """graph: an ONNX file, or what is in it. device: auto, cpu, cuda or cuda:N. threads: rows at a time on a CPU.
        max_batch: rows at a time on a GPU.

        Raises DeviceUnavailableError.
        """
        self._session, self.placement = _open(graph, device)
        graph_input = self._session.get_inputs()[0]
        self._input: str = graph_input.name
        self._row: tuple[int, ...] = tuple(graph_input.shape[1:])
        self._buckets = buckets(max_batch) if self.placement.provider == CUDA else [1]
        self._threads = ThreadPoolExecutor(threads, "onnx") if self.placement.provider == CPU else None
        for size in self._buckets:
            answers = self._run(np.zeros((size, *self._row), np.uint8))
        self._failed = np.full((1, *answers.shape[1:]), np.nan, np.float32)
        self._failed_runs = 0  # in a row, of all their rows

    @property
    def lost(self) -> bool:
        """Whether nothing can be run any more. A device that was lost stays lost to this process."""
        return self._failed_runs >= LOST_AFTER

    def run(self, rows: NDArray[np.uint8]) -> NDArray[np.float32]:
        """rows: uint8 [n, ...] with n > 0, in the shape of the graph's input. Returns float32 [n, ...], NaN in the
        rows that could not be run. Thread-safe.
        """
        failures: list[Exception] = []
        if self._threads is not None:
            singles = (rows[i : i + 1] for i in range(len(rows)))
            answers = np.concatenate(list(self._threads.map(partial(self._alone, failures=failures), singles)))
        else:
            largest = self._buckets[-1]
            batches = (rows[i : i + largest] for i in range(0, len(rows), largest))
            answers = np.concatenate([self._batch(batch, failures) for batch in batches])
        if failures:
            log.error("%d of %d rows could not be run: %s", len(failures), len(rows), failures[0])
        self._failed_runs = self._failed_runs + 1 if len(failures) == len(rows) else 0
        return answers

    def _batch(self, rows: NDArray[np.uint8], failures: list[Exception]) -> NDArray[np.float32]:
        try:
            return self._padded(rows)
        except Exception as error:  # noqa: BLE001  onnxruntime's own are of many unrelated kinds
            if len(rows) == 1:
                failures.append(error)
                return self._failed
            # It may have been too large for the memory that is left on the GPU.
            log.warning("a batch of %d rows could not be run, each is tried alone: %s", len(rows), error)
            return np.concatenate([self._alone(rows[i : i + 1], failures) for i in range(len(rows))])

    def _alone(self, row: NDArray[np.uint8], failures: list[Exception]) -> NDArray[np.float32]:
        try:
            return self._run(row)
        except Exception as error:  # noqa: BLE001  as above
            failures.append(error)
            return self._failed

    def _padded(self, rows: NDArray[np.uint8]) -> NDArray[np.float32]:
        size = next(bucket for bucket in self._buckets if bucket >= len(rows))
        padding = np.zeros((size - len(rows), *self._row), np.uint8)
        return self._run(np.concatenate([rows, padding]) if len(padding) else rows)[: len(rows)]

    def _run(self, rows: NDArray[np.uint8]) -> NDArray[np.float32]:
        output: NDArray[np.float32] = self._session.run(None, {self._input: rows})[0]
        return output


def buckets(max_batch: int) -> list[int]:
    """The batch sizes that are run on a GPU: powers of two up to max_batch, and max_batch itself."""
    return [*(1 << k for k in range(max_batch.bit_length()) if 1 << k < max_batch), max_batch]


def _open(graph: Path | bytes, device: str) -> tuple[ort.InferenceSession, Placement]:
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
                return session, Placement(chosen, CUDA)
            reason = "its libraries are missing or do not fit the driver (onnxruntime's log has more)"
        except Exception as error:  # noqa: BLE001  onnxruntime's own are of many unrelated kinds
            reason = str(error)
        if device != "auto":
            raise DeviceUnavailableError(
                f"The device {device} was asked for, and CUDA could not be loaded: {reason}. Install "
                "requirements/serve-cuda.txt, or set FACEBENTO_DEVICE to auto or cpu."
            )
        log.warning("There is an NVIDIA GPU, and CUDA could not be loaded: %s. Running on the CPU.", reason)
    return _session(graph, options, [CPU]), Placement("cpu", CPU)


def _session(
    graph: Path | bytes, options: ort.SessionOptions, providers: Sequence[str | tuple[str, dict[str, str]]]
) -> ort.InferenceSession:
    # enable_fallback: a session that fails on the GPU would go on, without a word, on the CPU.
    return ort.InferenceSession(graph, options, providers=providers, enable_fallback=0)
