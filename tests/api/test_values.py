import pytest

from api import settings
from api.settings import SettingsError


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", ""),
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("https://collector/", "https://collector/v1/traces"),
        ("http://[::1]:4318/otlp", "http://[::1]:4318/otlp/v1/traces"),
        ("https://collector/otlp/v1/traces/", "https://collector/otlp/v1/traces"),
    ],
)
def test_a_collector_s_url_is_completed(text: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEBENTO_TRACES", text)
    assert settings.load().traces == url


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("collector:4318", "must be the URL of a collector"),
        ("grpc://collector:4317", "must be the URL of a collector"),
        ("http://", "must be the URL of a collector"),
        ("http://collector:x", "must be the URL of a collector"),
        ("http://[::1", "must be the URL of a collector"),
        ("http://collector\u00e9", "must be the URL of a collector"),
        ("http://me:secret@collector", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("http://collector?token=secret", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("http://collector#secret", "OTEL_EXPORTER_OTLP_HEADERS"),
    ],
)
def test_what_is_none_stops_the_start_and_is_not_repeated(
    text: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEBENTO_TRACES", text)
    with pytest.raises(SettingsError, match=f"^FACEBENTO_TRACES: .*{told}") as error:
        settings.load()
    assert "secret" not in str(error.value)
