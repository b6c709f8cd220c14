from pathlib import Path

import pytest
from pydantic import ValidationError

from api import settings
from api.keys import Key
from api.settings import Settings, SettingsError


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: without .env, and no setting is set."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"FACEBENTO_{name.upper()}", raising=False)
    return tmp_path


def test_the_defaults_are_those_of_the_contract_and_the_budget() -> None:
    read = settings.load()
    assert read.max_body_bytes == 10 * 1024 * 1024
    assert read.max_pixels == 50_000_000
    assert read.deadline_s == 30
    assert read.device == "auto"
    assert (read.detector, read.embedder) == ("centerface", "dlib-resnet-v1")
    assert read.decode_threads == read.threads >= 1
    assert len(read.keys()) == 0


def test_a_variable_counts_before_the_file(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (empty_folder / ".env").write_text("FACEBENTO_THREADS=3\nFACEBENTO_WORKERS=4\nOTHER=1\n")
    monkeypatch.setenv("FACEBENTO_THREADS", "2")
    read = settings.load()
    assert (read.threads, read.workers) == (2, 4)


def test_what_is_set_counts_before_the_callers_defaults_and_these_before_its_own(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a bento has them: the models that it was built with.
    defaults = {"detector": "from-the-bento", "embedder": "from-the-bento"}
    read = settings.load(defaults)
    assert (read.detector, read.embedder) == ("from-the-bento", "from-the-bento")
    assert read == settings.load().model_copy(update=defaults)
    monkeypatch.setenv("FACEBENTO_EMBEDDER", "")  # set, but to nothing
    (empty_folder / ".env").write_text("FACEBENTO_DETECTOR=from-the-file\n")
    read = settings.load(defaults)
    assert (read.detector, read.embedder) == ("from-the-file", "from-the-bento")
    monkeypatch.setenv("FACEBENTO_DETECTOR", "centerface")  # also where it is what the setting's own default is
    monkeypatch.setenv("FACEBENTO_EMBEDDER", "from-the-environment")
    read = settings.load(defaults)
    assert (read.detector, read.embedder) == ("centerface", "from-the-environment")


def test_a_default_does_not_hide_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEBENTO_DEVICE", "gpu")
    with pytest.raises(SettingsError, match="FACEBENTO_DEVICE"):
        settings.load({"device": "cpu"})


@pytest.mark.parametrize(
    ("cores", "quota", "threads"),
    [
        (4, 1.5, 2),  # a part of a core is one more thread
        (4, 0.25, 1),
        (4, 4.0, 4),
        (4, 64.0, 4),  # without a limit BentoML answers the machine's cores, also where taskset leaves fewer
    ],
)
def test_threads_follow_the_cores_and_the_limit_of_the_container(
    cores: int, quota: float, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr("api.values.query_cgroup_cpu_count", lambda: quota)
    read = settings.load()
    assert (read.threads, read.decode_threads) == (threads, threads)


def test_threads_where_the_system_does_not_tell_which_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    monkeypatch.setattr("api.values.query_cgroup_cpu_count", lambda: 8.0)
    assert settings.load().threads == 6
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert settings.load().threads == 1


def test_keys_come_from_the_variable_and_the_file(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = empty_folder / "keys"
    file.write_text("# who may come in\n\n  carol=three  \n   # dave=four\r\nfive=\n")
    monkeypatch.setenv("FACEBENTO_API_KEYS", "one, bob=two,,")
    monkeypatch.setenv("FACEBENTO_API_KEYS_FILE", str(file))
    keys = settings.load().keys()
    assert len(keys) == 4
    found = [keys.find(key) for key in (b"one", b"two", b"three", b"five=")]
    assert found == [Key("key1"), Key("bob"), Key("carol"), Key("key4")]
    assert keys.find(b"four") is None


def test_a_comma_is_nothing_special_in_the_file(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (empty_folder / "keys").write_text("one,two\n")
    monkeypatch.setenv("FACEBENTO_API_KEYS_FILE", "keys")
    assert settings.load().keys().find(b"one,two") == Key("key1")


def test_serving_without_a_key_is_refused_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"FACEBENTO_API_KEYS: not set") as told:
        settings.require_key(settings.load())
    assert "Did you mean" not in str(told.value)
    monkeypatch.setenv("FACEBENTO_API_KEY", "secret")
    with pytest.raises(SettingsError, match=r"FACEBENTO_API_KEY is a client's.* FACEBENTO_API_KEYS") as told:
        settings.require_key(settings.load())
    assert "secret" not in str(told.value)
    monkeypatch.setenv("FACEBENTO_API_KEYS", "secret")
    settings.require_key(settings.load())


def test_a_file_without_a_key_in_it_is_named(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (empty_folder / "keys").write_text("# none yet\n\n")
    monkeypatch.setenv("FACEBENTO_API_KEYS_FILE", "keys")
    with pytest.raises(SettingsError, match=r"and FACEBENTO_API_KEYS_FILE, keys, holds no key"):
        settings.require_key(settings.load())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEVICE", "gpu"),
        ("DEVICE", "cuda:"),
        ("DEVICE", "cuda:-1"),
        ("DEVICE", "cuda:0,"),
        ("DEVICE", "cuda:0,0"),
        ("DEVICE", "cuda:1,0,01"),
        ("GPU_ENGINE", "cuda-fp8"),
        ("PLACEMENT", "outside"),
        ("THREADS", "0"),
        ("THREADS", "many"),
        ("DECODE_THREADS", "257"),
        ("WORKERS", "1.5"),
        ("WORKERS", "-1"),
        ("WORKERS", "65"),
        ("DEADLINE_S", "0"),
        ("DEADLINE_S", "nan"),
        ("DEADLINE_S", "inf"),
        ("MAX_BODY_BYTES", "1023"),
        ("MAX_BODY_BYTES", "10MB"),
        ("MAX_PIXELS", "12543"),
        ("MAX_IN_FLIGHT", "-1"),
        ("MAX_CONCURRENCY", "-1"),
        ("MAX_BODY_MEMORY_BYTES", "1000000"),  # less than the largest body
        ("DETECTOR_BATCH_SIZE", "0"),
        ("EMBEDDER_BATCH_SIZE", "1025"),
        ("API_KEYS_FILE", "/none/such"),
    ],
)
def test_a_wrong_value_is_told_by_its_variable(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"FACEBENTO_{name}", value)
    with pytest.raises(SettingsError, match=f"FACEBENTO_{name}") as told:
        settings.load()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("value", ["auto", "cpu", "cuda", "cuda:0", "cuda:12", "cuda:0,1", "cuda:2,10,0"])
def test_devices_that_may_be_asked_for(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEBENTO_DEVICE", value)
    assert settings.load().device == value


def test_all_that_is_wrong_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEBENTO_THREADS", "0")
    monkeypatch.setenv("FACEBENTO_DEVICE", "tpu")
    with pytest.raises(SettingsError) as told:
        settings.load()
    assert sorted(line.split(":")[0] for line in str(told.value).splitlines()) == [
        "FACEBENTO_DEVICE",
        "FACEBENTO_THREADS",
    ]


@pytest.mark.parametrize("keys", ["hush hush", "hush\u00fc", "sha256:hush", "fine,hush hush", "x=sha256:hush"])
@pytest.mark.parametrize("in_file", [True, False])
def test_no_error_shows_a_key(keys: str, in_file: bool, empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if in_file:
        (empty_folder / "keys").write_text(keys.replace(",", "\n"), encoding="utf-8")
        monkeypatch.setenv("FACEBENTO_API_KEYS_FILE", "keys")
    else:
        monkeypatch.setenv("FACEBENTO_API_KEYS", keys)
    expected = "FACEBENTO_API_KEYS_FILE: " if in_file else "FACEBENTO_API_KEYS: "
    with pytest.raises(SettingsError, match=expected) as told:
        settings.load()
    assert "hush" not in str(told.value)
    assert told.value.__cause__ is None
    assert told.value.__suppress_context__


def test_another_settings_error_shows_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEBENTO_API_KEYS", "hush")
    monkeypatch.setenv("FACEBENTO_API_KEYS_FILE", "/none/such")
    monkeypatch.setenv("FACEBENTO_THREADS", "none")
    with pytest.raises(SettingsError) as told:
        settings.load()
    assert "hush" not in str(told.value)


def test_a_file_of_keys_that_is_no_text_is_told(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (empty_folder / "keys").write_bytes(b"hush\xff\xfe")
    monkeypatch.setenv("FACEBENTO_API_KEYS_FILE", "keys")
    with pytest.raises(SettingsError, match=r"FACEBENTO_API_KEYS_FILE.*not UTF-8") as told:
        settings.load()
    assert "hush" not in str(told.value)


def test_the_settings_print_no_key_and_are_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEBENTO_API_KEYS", "hush")
    read = settings.load()
    assert "hush" not in repr(read)
    assert "hush" not in str(read)
    assert "hush" not in repr(read.keys())
    assert "hush" not in read.model_dump_json()
    with pytest.raises(ValidationError):
        read.threads = 5  # type: ignore[misc]


def test_unknown_variables_are_told_with_what_was_likely_meant(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings.unknown_variables() == []
    (empty_folder / ".env").write_text("FACEBENTO_DEADLINE=10\nFACEBENTO_THREADS=1\nPATH_TO=x\n")
    monkeypatch.setenv("FACEBENTO_MAX_PIXEL", "1")
    monkeypatch.setenv("FACEBENTO_ZZZ", "1")
    monkeypatch.setenv("FACEBENTO_WORKERS", "1")
    monkeypatch.setenv("FACEBENTO_API_KEY", "a-client's")
    assert settings.unknown_variables() == [
        "FACEBENTO_API_KEY is a client's, without effect here. The service's keys: FACEBENTO_API_KEYS.",
        "FACEBENTO_DEADLINE is no setting and has no effect. Did you mean FACEBENTO_DEADLINE_S?",
        "FACEBENTO_MAX_PIXEL is no setting and has no effect. Did you mean FACEBENTO_MAX_PIXELS?",
        "FACEBENTO_ZZZ is no setting and has no effect.",
    ]


def test_every_setting_tells_what_it_trades() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name


@pytest.mark.parametrize(
    ("variables", "workers"),
    [
        ({"THREADS": "1"}, 1),
        ({"THREADS": "4"}, 1),
        ({"THREADS": "5"}, 2),
        ({"THREADS": "12", "WORKERS": "0"}, 3),
        ({"THREADS": "32"}, 4),
        ({"THREADS": "32", "WORKERS": "5"}, 5),
        ({"THREADS": "2", "DECODE_THREADS": "8"}, 2),
        ({"THREADS": "8", "DECODE_THREADS": "2"}, 2),
        ({"THREADS": "1", "PLACEMENT": "processes", "DECODE_THREADS": "9", "WORKERS": "1"}, 1),
    ],
)
def test_one_api_process_for_every_four_threads_that_work_in_them_unless_set(
    variables: dict[str, str], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"FACEBENTO_{name}", value)
    assert settings.load().api_workers == workers


@pytest.mark.parametrize(
    ("placement", "on_cpu", "inside"),
    [
        ("auto", True, True),
        ("auto", False, False),
        ("inside", True, True),
        ("inside", False, True),
        ("processes", True, False),
        ("processes", False, False),
    ],
)
def test_where_the_runners_are(placement: str, on_cpu: bool, inside: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEBENTO_PLACEMENT", placement)
    assert settings.load().runners_inside(on_cpu=on_cpu) is inside
