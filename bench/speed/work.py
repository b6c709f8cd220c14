"""The work of one request in plain function calls: what a server can at best come near to."""

import os
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.alignment import align, letterbox, reduction_for
from faces.detection import Face, Order, View, read_candidates, read_faces, select, suppress
from faces.feature import Embedding
from faces.image import Picture, decode, read_header
from models.catalog import ModelDescription

# onnxruntime reports to its makers from the moment it is imported, unless this is set.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort

# A model as it is stored: its description, and what is in its model.onnx.
Prepared = tuple[ModelDescription, bytes]

# As the service has them (api/settings.py, api/schemas.py, pipeline.py).
_MAX_PIXELS: Final = 50_000_000
_MAX_FACES: Final = 750
_SEEN_PER_CANVAS: Final = 2


class Work:
    """On one thread, with nothing between the steps: no server, event loop or pool, and onnxruntime by itself."""

    def __init__(self, detector: Prepared, embedder: Prepared) -> None:
        """Raises TypeError for a model of the other role."""
        if detector[0].detector is None or embedder[0].embedder is None:
            raise TypeError(f"{detector[0].id} must be a detector, and {embedder[0].id} an embedder")
        cv2.setNumThreads(1)
        self._detector = detector[0].detector
        self._canvas_size = detector[0].input.size
        self._template = embedder[0].embedder.template
        self._crop_size = embedder[0].input.size
        self._detect = _session(detector[1])
        self._embed = _session(embedder[1])

    def look(self, data: bytes) -> tuple[Picture, NDArray[np.uint8], View]:
        """An encoded picture -> its pixels, and the detector's canvas of it: uint8 [size, size, 3]."""
        reduction = read_header(data, max_pixels=_MAX_PIXELS).reduction(_SEEN_PER_CANVAS * self._canvas_size)
        picture = decode(data, max_pixels=_MAX_PIXELS, reduction=reduction)
        return picture, *letterbox(picture, self._canvas_size)

    def detect(self, data: bytes) -> list[Face]:
        """The faces of an encoded picture, the surest first."""
        return self._best(*self.look(data), Order.CONFIDENCE, _MAX_FACES)

    def embeddings(self, data: bytes) -> tuple[Face, Embedding] | None:
        """The largest face of an encoded picture; None if there is no face."""
        picture, canvas, view = self.look(data)
        faces = self._best(picture, canvas, view, Order.AREA, 1)
        if not faces:
            return None
        enough = reduction_for(faces[0], self._template, self._crop_size)
        if picture.reduction > enough:
            picture = decode(data, max_pixels=_MAX_PIXELS, reduction=enough)
        crops = align([(picture, faces[0])], self._template, self._crop_size)
        return faces[0], _run(self._embed, crops)[0]

    def _best(self, picture: Picture, canvas: NDArray[np.uint8], view: View, order: Order, limit: int) -> list[Face]:
        [candidates] = _run(self._detect, canvas[None])
        rows = read_candidates(candidates, view, score_threshold=self._detector.score_threshold)
        kept = suppress([rows], iou_threshold=self._detector.iou_threshold)
        found = read_faces(kept, width=picture.width, height=picture.height)
        return select(found, order, limit, width=picture.width, height=picture.height)


def _session(graph: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _run(session: ort.InferenceSession, rows: NDArray[np.uint8]) -> NDArray[np.float32]:
    output: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: rows})[0]
    return output
