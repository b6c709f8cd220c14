"""Faces in a camera's pictures, or a video's, as they come: the newest frame is looked at, and those before it dropped.

    python examples/webcam.py                                   # the first camera, in a window; q ends it
    python examples/webcam.py --source clip.mp4 --output found.avi

Frames that wait in a queue are old when their turn comes. Here there is room for one: while the service looks at a
frame, each newer one takes the place of the one that waits. A window needs opencv-python; without a screen, or with
opencv-python-headless, give --output.
"""

import argparse
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from cv2.typing import MatLike

from facebento_client import Client, DeadlineError, FacebentoError, NoAnswerError, OverloadedError, UnavailableError

JPEG_QUALITY = 90
NAME = "facebento: q ends it"


class Newest:
    """Room for one frame."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frame: MatLike | None = None
        self._ended = False
        self.dropped = 0

    def put(self, frame: MatLike) -> None:
        with self._changed:
            self.dropped += self._frame is not None
            self._frame = frame
            self._changed.notify()

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()

    def take(self) -> MatLike | None:
        """The newest frame, as soon as there is one; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self._ended)
            frame, self._frame = self._frame, None
            return frame


def read(camera: Any, newest: Newest, pause_s: float, stop: threading.Event) -> None:
    """Frame by frame, as a camera gives them; a file, which gives them at once, at its own pace."""
    due = time.monotonic()
    while not stop.is_set():
        there, frame = camera.read()
        if not there:
            break
        newest.put(frame)
        due += pause_s
        if pause_s:
            stop.wait(due - time.monotonic())
    newest.end()


def look(client: Client, frame: MatLike) -> MatLike:
    """The frame, uint8 [height, width, 3] BGR, with its faces drawn."""
    jpeg = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
    drawn = client.detect(jpeg).draw(frame[..., ::-1])  # type: ignore[arg-type]  # OpenCV's order is BGR
    return np.ascontiguousarray(np.asarray(drawn)[..., ::-1])


def window(frame: MatLike) -> bool:
    """Show a frame. Whether to go on."""
    cv2.imshow(NAME, frame)
    return cv2.waitKey(1) & 0xFF != ord("q")


class Recording:
    """A video file."""

    def __init__(self, path: Path, frames_per_s: float) -> None:
        self._path, self._frames_per_s = path, frames_per_s
        self._writer: cv2.VideoWriter | None = None

    def add(self, frame: MatLike) -> bool:
        """Whether to go on, which is always so."""
        if self._writer is None:
            size = (frame.shape[1], frame.shape[0])
            code = cv2.VideoWriter.fourcc(*"MJPG")
            self._writer = cv2.VideoWriter(str(self._path), code, self._frames_per_s, size)
            if not self._writer.isOpened():
                raise SystemExit(f"{self._path} can't be written as a video. A name that ends in .avi should do.")
        self._writer.write(frame)
        return True

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()


def watch(client: Client, newest: Newest, show: Callable[[MatLike], bool]) -> int:
    """Until the frames end or `show` says so. How many were looked at."""
    looked_at = 0
    while (frame := newest.take()) is not None:
        try:
            drawn = look(client, frame)
        except (OverloadedError, UnavailableError, DeadlineError, NoAnswerError) as error:
            print(error, file=sys.stderr)  # a busy moment costs frames, not the loop
            time.sleep(0.5)
            continue
        looked_at += 1
        if not show(drawn):
            break
    return looked_at


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Faces as a camera sees them; the key is FACEBENTO_API_KEY.")
    parser.add_argument("--source", default="0", help="a camera's number, a video file, or a stream's address")
    parser.add_argument("--output", type=Path, help="a video to write (.avi), in place of a window")
    parser.add_argument("--url", default="http://127.0.0.1:3000", help="the service")
    asked = parser.parse_args(arguments)
    camera = cv2.VideoCapture(int(asked.source) if asked.source.isdecimal() else asked.source)
    if not camera.isOpened():
        raise SystemExit(f"{asked.source} is neither a camera nor a video that can be opened.")
    frames_per_s = camera.get(cv2.CAP_PROP_FPS) or 25.0
    pause_s = 1 / frames_per_s if Path(asked.source).is_file() else 0.0

    newest, stop = Newest(), threading.Event()
    reader = threading.Thread(target=read, args=(camera, newest, pause_s, stop))
    recording = Recording(asked.output, frames_per_s) if asked.output else None
    # No retries: what would be sent again is an old frame.
    with Client(asked.url, retry=0, timeout=5) as client:
        reader.start()
        try:
            looked_at = watch(client, newest, recording.add if recording else window)
        except KeyboardInterrupt:
            return 0
        finally:
            stop.set()
            reader.join()
            camera.release()
            if recording:
                recording.close()
    print(f"frames: {looked_at} looked at, {newest.dropped} dropped")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except FacebentoError as error:
        sys.exit(f"{error}")
