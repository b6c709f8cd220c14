"""How a log line is written: JSON, an object a line; the same in words where a person looks on at a terminal.

Of every logger, BentoML's and uvicorn's too, and in every process of the service.
"""

import json
import logging
import os
import queue
import re
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

import aiohttp
from bentoml._internal.context import server_context
from bentoml.exceptions import BentoMLException

from models.errors import ModelError
from runners.errors import RunnerError
from stages import current

# BentoML's handler for servers. Where a bento is built, or a model is listed, there is none.
HANDLER = "tracehandler"
WAITING_LINES = 10_000  # at most, some 5 MB
GATHER_S = 0.01  # by how much a line is late at most
LONGEST_TRACEBACK = 3_000  # characters: a line above 4096 bytes could be torn by that of another process

_CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def configure() -> None:
    """Has BentoML's handler write lines of this module's form. To be called once BentoML has set up its logging."""
    root = logging.getLogger()
    for handler in _handlers():
        terminal = handler.stream.isatty()
        handler.filters.clear()
        handler.setFormatter(TextFormatter() if terminal else JsonFormatter())
        for name in ("uvicorn.error", "circus"):  # their lines reach the root's handler, the same one, as well
            if handler in root.handlers:
                logging.getLogger(name).removeHandler(handler)
        # At BentoML's debug level too: it tells raw paths, and the queries in them.
        logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
        logging.captureWarnings(capture=True)


def write_behind() -> None:
    """From here on, lines are written by a thread: a reader who does not read must not stop the event loop."""
    for handler in _handlers():
        if not isinstance(handler.stream, LinesBehind):
            handler.setStream(LinesBehind(handler.stream))


def stop_writing_behind() -> None:
    """To be called before the process ends: uvicorn ends by the signal that it got, without a word to any thread."""
    for handler in _handlers():
        if isinstance(handler.stream, LinesBehind):
            handler.stream.close()


def _handlers() -> Iterator["logging.StreamHandler[Any]"]:
    handlers = {id(each): each for name in ("", "bentoml") for each in logging.getLogger(name).handlers}
    for handler in handlers.values():
        if handler.name == HANDLER and isinstance(handler, logging.StreamHandler):
            yield handler


def facts(record: logging.LogRecord) -> dict[str, Any]:
    """All that a line tells. A record's own facts are its `facts`: `log.info("...", extra={"facts": {...}})`."""
    work = current.get()
    message = record.getMessage()
    if record.name == "asyncio":
        # The lines after the first one quote the exception, and so perhaps what a client sent.
        message = message.partition("\n")[0]
    told: dict[str, Any] = {
        "time": _time(record.created),
        "level": record.levelname.lower(),
        "logger": record.name,
        "service": server_context.service_name,
        "pid": record.process,
        "request_id": work.request_id if work else None,
        "message": message.strip(),
    }
    told = {name: value for name, value in told.items() if value is not None}
    if work and work.trace:
        told |= work.trace.ids
    told |= getattr(record, "facts", {})
    if record.exc_info and record.exc_info[1]:
        told["exception"] = "".join(_told(record.exc_info[1], set()))[-LONGEST_TRACEBACK:]
    return told


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(facts(record))


class TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        told = facts(record)
        exception = told.pop("exception", "")
        words = [told.pop("time"), told.pop("level").upper(), told.pop("service", "-"), told.pop("message")]
        for name in ("logger", "pid"):
            told.pop(name)
        words += [f"{name}={_word(value)}" for name, value in told.items()]
        text = " ".join(words) + (f"\n{exception.rstrip()}" if exception else "")
        # Whoever sent it: nothing in a line moves the cursor, and what looks like a line of its own is none.
        return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text).replace("\n", "\n  | ")


class LinesBehind:
    """A stream, written to by a thread. Lines that have no place in its queue are lost, and counted in a line."""

    def __init__(self, stream: TextIO, most: int = WAITING_LINES) -> None:
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(most)
        self._lost = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        if not self._thread.is_alive():  # closed
            self._out(line)
            return
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._lost += 1

    def flush(self) -> None:
        """The thread does it, after each line."""

    def isatty(self) -> bool:
        return self._stream.isatty()

    def close(self, at_most_s: float = 2) -> None:
        """Waits until all lines are out, but not for a reader who does not read."""
        try:
            self._lines.put(None, timeout=at_most_s)
        except queue.Full:
            return
        self._thread.join(at_most_s)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            # Those to come in the meantime wake nobody: a thread woken for each line costs more than the line.
            if self._lines.empty():
                time.sleep(GATHER_S)
            self._out(line)
            if self._lost:
                lost, self._lost = self._lost, 0
                told = logging.makeLogRecord(
                    {
                        "name": "facebento.logs",
                        "levelname": "WARNING",
                        "msg": "%d log lines were lost: nobody read the log for too long",
                        "args": (lost,),
                        "process": os.getpid(),
                    }
                )
                form = TextFormatter() if self.isatty() else JsonFormatter()
                self._out(form.format(told) + "\n")

    def _out(self, line: str) -> None:
        try:
            self._stream.write(line)
            self._stream.flush()
        except (OSError, ValueError):  # whoever read it is gone
            self._lost += 1


def _time(seconds: float) -> str:
    """RFC 3339, UTC, milliseconds."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(seconds % 1 * 1000):03d}Z"


def _word(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{name}:{each}" for name, each in value.items())
    return str(value)


def _told(error: BaseException, seen: set[int]) -> Iterator[str]:
    """The exception's traceback and those of its causes, without messages that could quote a request.

    pydantic, numpy and Pillow tell in theirs what they could not read.
    """
    seen.add(id(error))
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and id(cause) not in seen:
        yield from _told(cause, seen)
        yield "\nThen, because of that or while it was handled:\n\n"
    yield from traceback.format_tb(error.__traceback__)
    kind = type(error)
    told = f": {error}" if _quotes_nothing(error) else ""
    yield f"{kind.__module__}.{kind.__qualname__}{told}\n"
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            if id(each) not in seen:
                yield "\nOne of the group:\n\n"
                yield from _told(each, seen)


def _quotes_nothing(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno is not None  # the system's; Pillow's have none
    return isinstance(error, (ModelError, RunnerError, BentoMLException, aiohttp.ClientError)) or type(
        error
    ).__module__.startswith("onnxruntime.")
