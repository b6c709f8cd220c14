"""Keys that come, end and go while the service runs."""

import datetime as dt
import time

import pytest

from tests.e2e.running import HTTP, NewServer, Server

pytestmark = pytest.mark.e2e


def status(server: Server, key: str) -> int:
    """400 or so where the key is taken, since there is no image; 401 where it is not."""
    return HTTP.post(f"{server.url}/v1/file/detect", headers={"x-api-key": key}).status_code


def becomes(server: Server, key: str, wanted: int) -> None:
    end = time.monotonic() + 30
    while status(server, key) != wanted:
        assert time.monotonic() < end, server.output
        time.sleep(0.1)


def test_the_key_file_may_change_and_keys_end(new_server: NewServer) -> None:
    server = new_server(FACEBENTO_API_KEYS_FILE="keys")
    file = server.folder / "keys"
    file.write_text("first=one\n", encoding="utf-8")
    server.start()
    # Before anybody came: it is told that nobody did.
    assert 'facebento_admissions_total{outcome="admitted"} 0.0\n' in HTTP.get(f"{server.url}/metrics").text
    assert [status(server, key) for key in ("one", "short", "two")] == [422, 401, 401]
    moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=6)
    more = f"brief=short expires={moment:%Y-%m-%dT%H:%M:%SZ}\nsecond=two\n"
    file.write_text(file.read_text(encoding="utf-8") + more, encoding="utf-8")
    becomes(server, "short", 422)
    becomes(server, "two", 422)
    file.write_text(more, encoding="utf-8")
    becomes(server, "one", 401)
    becomes(server, "short", 401)
    assert "has expired" in HTTP.post(f"{server.url}/v1/detect", headers={"x-api-key": "short"}).text
    assert status(server, "two") == 422
    assert server.stop() == 0
    assert '"the keys in use now: first, ' in server.output
    assert not [key for key in ("one", "short", "two") if f"={key}" in server.output]
