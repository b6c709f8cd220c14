"""Lines as they are written: what they tell, what they never tell, and who waits for their reader."""

import io
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pydantic
import pytest

import stages
from api import logs
from api.logs import JsonFormatter, LinesBehind, TextFormatter
from models.errors import DownloadError
from stages import Work

NEEDLE = "needle"


def record(message: str = "said", error: BaseException | None = None, **attributes: Any) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error else None
    made = logging.LogRecord("facebento.test", logging.WARNING, __file__, 1, message, None, exc_info)
    made.__dict__.update(attributes)
    return made


def line(made: logging.LogRecord) -> dict[str, Any]:
    written = JsonFormatter().format(made)
    assert "\n" not in written
    told: dict[str, Any] = json.loads(written)
    return told


def test_a_line_tells_when_where_and_what() -> None:
    told = line(record("it %s", args=("works",), created=1753142400.0129))
    assert told == {
        "time": "2025-07-22T00:00:00.012Z",
        "level": "warning",
        "logger": "facebento.test",
        "pid": os.getpid(),
        "message": "it works",
    }


def test_a_line_written_while_a_request_is_handled_has_its_id() -> None:
    token = stages.current.set(Work("request-7"))
    try:
        assert line(record())["request_id"] == "request-7"
        assert "request_id=request-7" in TextFormatter().format(record())
    finally:
        stages.current.reset(token)
    assert "request_id" not in line(record())


def test_the_facts_of_a_record_stand_in_its_line_and_nothing_else_that_is_in_it() -> None:
    made = record(facts={"status": 200, "key": None, "stages_ms": {"decode": 1.5}}, other=NEEDLE)
    told = line(made)
    assert (told["status"], told["key"], told["stages_ms"]) == (200, None, {"decode": 1.5})
    text = TextFormatter().format(made)
    assert text.endswith("WARNING - said status=200 key=None stages_ms=decode:1.5")
    assert NEEDLE not in json.dumps(told) + text


@pytest.mark.parametrize("ending", ["\n", "\r", "\r\n", "\x1b[2K\x1b[1A", "\x85", "\u2028", "\x00"])
def test_nothing_in_a_message_makes_a_line_of_its_own(ending: str) -> None:
    forged = f"x{ending}2026-01-01T00:00:00.000Z ERROR facebento all keys were stolen"
    assert len(JsonFormatter().format(record(forged)).splitlines()) == 1
    lines = TextFormatter().format(record(forged)).splitlines()
    assert all(each.startswith("  | ") for each in lines[1:])
    assert all(each.isprintable() for each in lines)


class Model(pydantic.BaseModel):
    image: int


def failing() -> None:
    raise OSError(f"broken data stream {NEEDLE}")


def failing_twice() -> None:
    raise ExceptionGroup(NEEDLE, [ValueError(NEEDLE), KeyError(NEEDLE)])


def quoting() -> Iterator[BaseException]:
    """Errors of the kinds that tell what they were given."""
    tried: list[Callable[[], Any]] = [
        lambda: Model.model_validate({"image": NEEDLE}),
        lambda: int(NEEDLE),
        lambda: {"": 0}[NEEDLE],
        lambda: NEEDLE.encode().decode("utf-16-be", "strict") + b"\xff".decode(),
        lambda: np.array([NEEDLE]).astype(float),
        failing,
        failing_twice,
    ]
    for each in tried:
        try:
            each()
        except Exception as error:  # noqa: BLE001
            yield error


@pytest.mark.parametrize("error", list(quoting()), ids=lambda error: type(error).__name__)
def test_a_traceback_tells_the_way_and_the_kind_but_no_message_that_could_quote_a_request(error: Exception) -> None:
    try:
        try:
            raise error
        except type(error) as caught:
            caught.add_note(NEEDLE)
            raise RuntimeError(NEEDLE) from caught
    except RuntimeError as raised:
        made = record("failed", raised)
    told = line(made)["exception"]
    assert NEEDLE not in told
    assert NEEDLE not in TextFormatter().format(made)
    assert type(error).__name__ in told
    assert "builtins.RuntimeError" in told
    assert "test_a_traceback_tells_the_way" in told


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device", "/tmp/x"), "No space left on device: '/tmp/x'"),  # noqa: S108
        (DownloadError("no answer from the index"), "no answer from the index"),
    ],
)
def test_messages_of_the_system_and_of_our_own_errors_are_told(error: Exception, told: str) -> None:
    assert told in line(record("failed", error))["exception"]


def test_a_cause_that_goes_in_a_circle_is_told_once() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert line(record("failed", first))["exception"].count("builtins.ValueError") == 1


# Two that take turns: of one that calls itself, Python tells only the first calls.
def deep(left: int) -> None:
    if not left:
        raise ValueError
    deeper(left - 1)


def deeper(left: int) -> None:
    deep(left)


def test_a_long_traceback_fits_into_one_write() -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        deep(60)
    written = JsonFormatter().format(record("failed", caught.value))
    assert len(written) < 4096  # what a pipe takes from several processes without mixing it
    assert json.loads(written)["exception"].endswith("builtins.ValueError\n")


def test_what_asyncio_quotes_is_left_out() -> None:
    made = record(f"Task exception was never retrieved\nfuture: <Task exception=ValueError('{NEEDLE}')>")
    made.name = "asyncio"
    assert line(made)["message"] == "Task exception was never retrieved"


@pytest.fixture
def bentoml_handler() -> Iterator["logging.StreamHandler[Any]"]:
    """BentoML's logging, as it sets it up for a server; put back as it was afterwards."""
    handler = logging.StreamHandler(io.StringIO())
    handler.name = logs.HANDLER
    handler.addFilter(lambda _: True)
    names = ("", "bentoml", "uvicorn.error", "circus")
    access = logging.getLogger("uvicorn.access").level
    for name in names:
        logging.getLogger(name).addHandler(handler)
    yield handler
    for name in names:
        logging.getLogger(name).removeHandler(handler)
    logging.getLogger("uvicorn.access").setLevel(access)
    logging.captureWarnings(capture=False)


def test_every_logger_writes_one_json_line_each(bentoml_handler: "logging.StreamHandler[io.StringIO]") -> None:
    logs.configure()
    names = ("bentoml.serve", "uvicorn.error", "circus", "facebento.runners", "asyncio", "anything")
    for name in names:
        logging.getLogger(name).error("said by %s", name)
    lines = [json.loads(each) for each in bentoml_handler.stream.getvalue().splitlines()]
    # bentoml's propagates here, and not where BentoML has set it up.
    assert [each["logger"] for each in lines if each["logger"] != "bentoml.serve"] == list(names[1:])
    assert lines[0]["message"] == "said by bentoml.serve"


def test_where_bentoml_has_no_handler_for_servers_nothing_is_changed() -> None:
    before = [(handler, handler.formatter) for handler in logging.getLogger().handlers]
    logs.configure()
    logs.write_behind()
    assert [(handler, handler.formatter) for handler in logging.getLogger().handlers] == before


def test_at_a_terminal_words_are_written(bentoml_handler: "logging.StreamHandler[io.StringIO]") -> None:
    bentoml_handler.stream.isatty = lambda: True  # type: ignore[method-assign]
    logs.configure()
    logging.getLogger("facebento.x").error("said")
    assert re.fullmatch(r"\S+Z ERROR - said\n", bentoml_handler.stream.getvalue())


class StuckStream(io.StringIO):
    """A pipe whose reader does not read until he is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = threading.Event()
        self.asked = threading.Event()

    def write(self, text: str) -> int:
        self.asked.set()
        assert self.reading.wait(30)
        return super().write(text)


def test_lines_do_not_wait_for_a_reader_and_those_that_are_lost_are_counted() -> None:
    stream = StuckStream()
    behind = LinesBehind(stream, most=3)
    behind.write("0\n")
    assert stream.asked.wait(30)  # the thread has taken the first line
    for number in range(1, 9):
        behind.write(f"{number}\n")
    stream.reading.set()
    behind.close(30)
    *first, _, _, _ = lines = stream.getvalue().splitlines()
    assert first[0] == "0"
    assert [each for each in lines if each.isdigit()] == ["0", "1", "2", "3"]
    [told] = [json.loads(each) for each in lines if not each.isdigit()]
    assert told["message"] == "5 log lines were lost: nobody read the log for too long"


def test_after_the_end_of_the_thread_lines_are_written_at_once() -> None:
    stream = io.StringIO()
    behind = LinesBehind(stream)
    behind.write("first\n")
    behind.close(30)
    behind.write("last\n")
    assert stream.getvalue() == "first\nlast\n"


def test_a_reader_who_does_not_read_does_not_hold_up_the_end() -> None:
    stream = StuckStream()
    behind = LinesBehind(stream, most=1)
    behind.write("0\n")
    assert stream.asked.wait(30)
    behind.write("1\n")
    behind.close(0.01)
    behind.write("2\n")  # comes back, and is lost
    stream.reading.set()


class BrokenStream(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(text)


def test_a_reader_who_is_gone_ends_nothing() -> None:
    behind = LinesBehind(BrokenStream())
    behind.write("0\n")
    behind.write("1\n")
    behind.close(30)
    behind.write("2\n")  # by the caller himself, now
