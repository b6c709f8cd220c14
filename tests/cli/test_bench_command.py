"""`facebento bench` against something that answers as a service does; with one of its own in tests/e2e."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner, Result

from cli import home
from cli.main import main
from cli.speed import count_faces, stages_ms

KEY = "a-key-that-nobody-is-to-see"
FACE = {"processed": True}
ABOUT = {"name": "facebento", "version": "1.2.3", "device": "cpu", "execution_provider": "CPUExecutionProvider"}
ANSWERS: dict[str, dict[str, object]] = {
    "/v1/file/detect": {"faces": [FACE]},
    "/v1/file/embeddings": {"embeddings": [1.0], "face_detect": FACE},
    "/v1/file/score": {"score": 1.0, "face_detects": [FACE, FACE]},
}


@dataclass
class Service:
    """What it answers, and what it was asked."""

    url: str = ""
    about: object = field(default_factory=lambda: ABOUT)
    answer: Callable[[str, int], tuple[int, object]] = lambda path, _: (200, ANSWERS[path])
    asked: int = 0
    hosts: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Service]:
    for name in [name for name in os.environ if name.startswith("FACEBENTO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(home.service_settings, "__defaults__", (tmp_path,))
    told = Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self.tell(200, told.about)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            told.hosts.add(self.headers["host"])
            told.keys.add(self.headers["x-api-key"])
            told.asked += 1
            self.tell(*told.answer(self.path.removeprefix("/prefix"), told.asked))

        def tell(self, status: int, answer: object) -> None:
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield told
        server.shutdown()
        thread.join()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["bench", "--seconds", "0.3", *arguments])


def test_it_tells_rates_and_times_of_each_endpoint(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEBENTO_API_KEY", KEY)
    result = run("--url", f"{service.url}/prefix/", "--clients", "1", "--clients", "3", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["service"] == ABOUT
    assert "cores" in told["machine"]
    measured = told["measured"]
    assert [(each["endpoint"], each["clients"]) for each in measured] == [
        (endpoint, clients) for endpoint in ("detect", "embed", "score") for clients in (1, 3)
    ]
    assert sum(each["answers"] for each in measured) == service.asked - 3  # one of each beforehand
    assert all(0 < each["p50_ms"] <= each["p95_ms"] <= each["p99_ms"] for each in measured)
    assert all(each["requests_a_second"] > 0 and each["errors"] == {} for each in measured)
    assert service.hosts == {service.url.removeprefix("http://")}
    assert service.keys == {KEY}
    assert KEY not in result.output


def test_people_get_a_table_and_words(service: Service) -> None:
    result = run("--url", service.url, "--key", KEY, "--clients", "2")
    assert result.exit_code == 0, result.output
    assert "Service: facebento 1.2.3, cpu (CPUExecutionProvider)" in result.stdout
    assert [line.split()[-1] for line in result.stdout.splitlines()[3:7]] == ["ERRORS", "none", "none", "none"]
    assert "a second at the most, with 2 clients; an answer takes " in result.stdout


def test_errors_are_counted_and_end_it_with_1(service: Service) -> None:
    seen: set[str] = set()

    def answer(path: str, _: int) -> tuple[int, object]:
        first = path not in seen
        seen.add(path)
        return (200, ANSWERS[path]) if first else (500, {})

    service.answer = answer
    result = run("--url", service.url, "--key", KEY, "--clients", "1", "--json")
    assert result.exit_code == 1
    assert "FACEBENTO_SMALL_FACES" not in result.stderr
    measured = json.loads(result.stdout)["measured"]
    assert sum(each["errors"]["500"] for each in measured) == service.asked - 3
    assert [(each["answers"], each["p50_ms"]) for each in measured] == [(0, None)] * 3
    seen.clear()
    people = run("--url", service.url, "--key", KEY, "--clients", "1")
    assert people.exit_code == 1
    assert " x 500\n" in people.stdout
    assert "nan" not in people.stdout
    assert "detect: no answer was right" in people.stdout


def test_it_says_what_to_do_about_refusals(service: Service) -> None:
    service.answer = lambda path, asked: (429, {}) if asked == 2 else (200, ANSWERS[path])
    result = run("--url", service.url, "--key", KEY, "--clients", "1")
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("429: more came at a time than the service takes on.")
    assert "FACEBENTO_SMALL_FACES=never" in line


def test_an_answer_without_the_faces_is_an_error(service: Service) -> None:
    nobody: dict[str, list[object]] = {"faces": []}
    service.answer = lambda path, asked: (200, nobody if asked == 2 else ANSWERS[path])
    result = run("--url", service.url, "--key", KEY, "--clients", "1", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["measured"][0]["errors"] == {"another answer": 1}


@pytest.mark.parametrize(
    ("status", "detail", "told"),
    [
        (401, "The key is wrong.", "photo 1 to /v1/file/detect: 401 The key is wrong."),
        (422, [{"msg": "It is no picture."}], "422 It is no picture."),
        (401, "\x1b[2J\ud800", "401 \ufffd[2J\ufffd"),
        (401, ["text"], "401"),
        (502, None, "502"),
    ],
)
def test_what_can_not_be_measured_is_told_at_once(service: Service, status: int, detail: object, told: str) -> None:
    service.answer = lambda *_: (status, {"detail": detail} if detail else "<html>")
    result = run("--url", service.url, "--key", KEY)
    assert result.exit_code == 1
    assert told in result.stderr
    assert KEY not in result.output
    assert service.asked == 1


@pytest.mark.parametrize("about", [{"name": "another"}, [], "text", {"name": "facebento"}, ABOUT | {"version": 1}])
def test_what_is_no_facebento_is_not_measured(service: Service, about: object) -> None:
    service.about = about
    result = run("--url", service.url, "--key", KEY)
    assert result.exit_code == 1
    assert "is no facebento" in result.stderr
    assert service.keys == set()  # the key is nobody else's


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("--url", "http://127.0.0.1:1", "--key", "x"), 1, "127.0.0.1:1 can't be reached"),
        (("--url", "ftp://x", "--key", "x"), 2, "ftp://x is no http or https address"),
        (("--url", "http://127.0.0.1:1"), 2, "give the service's key in FACEBENTO_API_KEY"),
        (("--url", "http://127.0.0.1:1", "--key", "k\u00e9y"), 2, "the key holds what none of the service's can"),
        (("--url", "http://127.0.0.1:1", "--key", "k\r\nx: y"), 2, "the key holds what none of the service's can"),
        (("--url", "http://a..b", "--key", "x"), 2, "http://a..b is no address"),
        (("--url", "http://x/\u00fc", "--key", "x"), 2, "is no address"),
        (("nothing.jpg",), 1, "nothing.jpg: No such file"),
        (("--clients", "0"), 2, "--clients"),
    ],
)
def test_wrong_use(service: Service, arguments: tuple[str, ...], status: int, told: str) -> None:
    assert service
    result = run(*arguments)
    assert result.exit_code == status
    assert told in result.stderr


def test_what_the_service_tells_is_no_command_to_the_terminal(service: Service) -> None:
    service.about = ABOUT | {"version": "\x1b]0;mine\x07"}
    result = CliRunner().invoke(
        main, ["bench", "--url", service.url, "--key", KEY, "--seconds", "0.1", "--clients", "1"], color=True
    )
    assert "Service: facebento \ufffd]0;mine\ufffd, cpu" in result.stdout
    assert not {"\x1b", "\x07"} & set(result.output)


def test_what_comes_between_is_counted_as_another_answer(service: Service) -> None:
    service.answer = lambda path, asked: (200, ["a page"] if asked == 2 else ANSWERS[path])
    result = run("--url", service.url, "--key", KEY, "--clients", "1", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["measured"][0]["errors"] == {"another answer": 1}
    service.answer = lambda *_: (200, ["a page"])
    result = run("--url", service.url, "--key", KEY)
    assert result.exit_code == 1
    assert "answers in another form than the service" in result.stderr


def test_a_key_of_the_settings_stays_on_this_machine(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEBENTO_API_KEYS", KEY)
    result = run("--url", "http://faces.invalid")
    assert result.exit_code == 2
    assert "those of the settings stay on this machine" in result.stderr
    assert run("--url", service.url.replace("127.0.0.1", "localhost"), "--clients", "1").exit_code == 0
    assert service.keys == {KEY}


@pytest.mark.parametrize("where", ["{key}", "name={key}", "old expires=2020-01-01,sha256:" + "0" * 64 + ",x={key}"])
def test_a_key_of_the_settings_is_taken(service: Service, tmp_path: Path, where: str) -> None:
    (tmp_path / ".env").write_text(f"FACEBENTO_API_KEYS={where.format(key=KEY)}")
    assert run("--url", service.url, "--clients", "1").exit_code == 0
    assert service.keys == {KEY}


def test_a_key_of_the_settings_file_is_taken(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keys").write_text(f"# whose\nname={KEY} expires=2999-01-01\n")
    monkeypatch.setenv("FACEBENTO_API_KEYS_FILE", str(tmp_path / "keys"))
    assert run("--url", service.url, "--clients", "1").exit_code == 0
    assert service.keys == {KEY}


def test_where_the_time_went_is_read_from_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    old = '{"status": 200, "stages_ms": {"detect": 99}}\n'
    lines = ["no json", "[]", *(json.dumps({"status": 200, "stages_ms": {"detect": ms}}) for ms in (1, 2, 9))]
    log.write_text(old + "\n".join([*lines, '{"status": 500, "stages_ms": {"detect": 1000}}']))
    assert stages_ms(log, len(old)) == {"detect": 2}


def test_faces_are_counted_in_every_answer() -> None:
    assert [count_faces(answer) for answer in ANSWERS.values()] == [1, 1, 2]
    assert count_faces({"faces": []}) == count_faces({"face_detect": {"processed": False}}) == 0
