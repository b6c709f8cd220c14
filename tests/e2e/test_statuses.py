"""What the contract says of errors, and of what is open: over HTTP, on the running server."""

from typing import Any

import httpx
import pytest

from tests.e2e.running import HTTP, Server, encoded
from tests.e2e.test_contract import POSTS

pytestmark = pytest.mark.e2e


def reason(response: httpx.Response) -> tuple[list[Any], str]:
    """A 422's place and type; its body must have exactly the three keys, once."""
    assert response.status_code == 422, response.text
    [detail] = response.json()["detail"]
    assert set(detail) == {"loc", "msg", "type"}
    return detail["loc"], detail["type"]


def test_open_endpoints(server: Server) -> None:
    def get(path: str) -> Any:
        response = HTTP.get(server.url + path)
        assert response.status_code == 200
        return response.json()

    assert get("/v1/health") == {"status": "ok", "ready": True}
    told = get("/v1/info/server")
    assert told["name"] == "facebento"
    assert {"version", "bentoml", "onnxruntime", "device", "execution_provider"} <= set(told)
    assert told["execution_provider"].endswith("ExecutionProvider")
    assert get("/v1/info/model") == {"models": ["centerface", "dlib-resnet-v1"]}
    detector = get("/v1/info/model/centerface")
    assert (detector["role"], detector["licence"], detector["input_size"]) == ("detector", "MIT", 640)
    assert set(detector["thresholds"]) == {"score", "iou"}
    embedder = get("/v1/info/model/dlib-resnet-v1")
    assert (embedder["role"], embedder["dimensions"], len(embedder["fingerprint"])) == ("embedder", 128, 32)
    assert embedder["score_mapping"]["cosine"] == embedder["thresholds"]["cosine"]
    assert embedder["operating_points"][0]["score"] == 0.5
    for model in (detector, embedder):
        assert len(model["sha256"]) == 64
        assert model["source"]
    assert HTTP.get(f"{server.url}/readyz").status_code == 200


@pytest.mark.parametrize("ending", ["%0A", "%0D%0A", "%0a%0a", "%00", ";", "?x", "%20", "%2F", "/%0A"])
def test_no_way_of_writing_a_path_gets_past_the_key(server: Server, ending: str) -> None:
    photo = (server.folder / "docs" / "images" / "astronaut.jpg").read_bytes()
    for path in POSTS:
        request: dict[str, Any] = (
            {"files": {"image": photo}} if "/file/" in path else {"json": {"image": encoded(photo)}}
        )
        for headers in ({}, {"x-api-key": "wrong"}):
            refused = HTTP.post(server.url + path + ending, headers=headers, **request)
            assert refused.status_code in (401, 404, 422), path
            if refused.status_code == 422:
                assert reason(refused) == (["header", "x-api-key"], "missing")


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/v1/detect", 405, "POST"),
        ("PUT", "/v1/file/score", 405, "POST"),
        ("POST", "/v1/health", 405, "GET"),
        ("DELETE", "/v1/info/model", 405, "GET"),
        ("GET", "/v1/nothing", 404, None),
        ("POST", "/v1/nothing", 404, None),
        ("POST", "/v1/detect/", 404, None),
        ("GET", "/index.html", 404, None),
        ("GET", "/v1/info/model/nothing", 404, None),
    ],
)
def test_unknown_paths_and_methods(server: Server, method: str, path: str, status: int, allow: str | None) -> None:
    response = HTTP.request(method, server.url + path)
    assert response.status_code == status
    assert response.headers.get("allow") == allow
    assert set(response.json()) == {"detail"}
