"""What the contract says of errors, and of what is open: over HTTP, on the running server."""

import json
from typing import Any

import httpx
import pytest

from tests.e2e.running import HTTP, Server, black_png, encoded
from tests.e2e.test_contract import POSTS

pytestmark = pytest.mark.e2e

JSON = {"content-type": "application/json"}


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


@pytest.mark.parametrize("path", POSTS)
def test_a_key_is_asked_for_before_anything_else(server: Server, path: str) -> None:
    assert reason(HTTP.post(server.url + path, content=b"{")) == (["header", "x-api-key"], "missing")
    for key in ("", "wrong", "x" * 10_000, server.key + "x", server.key[:-1]):
        refused = HTTP.post(server.url + path, content=b"{", headers={"x-api-key": key})
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"]
        assert isinstance(refused.json()["detail"], str)
    assert HTTP.post(server.url + path, headers=[(b"x-api-key", "schlüssel".encode())]).status_code == 401


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
        ("GET", "/", 404, None),
        ("GET", "/v1/info/model/nothing", 404, None),
    ],
)
def test_unknown_paths_and_methods(server: Server, method: str, path: str, status: int, allow: str | None) -> None:
    response = HTTP.request(method, server.url + path)
    assert response.status_code == status
    assert response.headers.get("allow") == allow
    assert set(response.json()) == {"detail"}


@pytest.mark.parametrize(
    ("body", "place", "kind"),
    [
        ("{", ["body"], "json_invalid"),
        ("[" * 100_000, ["body"], "json_invalid"),
        ('{"image": NaN}', ["body", "image"], "string_type"),
        (b'{"image": "\xff"}', ["body"], "json_invalid"),
        ("[]", ["body"], "json_object_expected"),
        ("{}", ["body", "image"], "missing"),
        ('{"image": 7}', ["body", "image"], "string_type"),
        ('{"image": "AAAA", "maxResults": 0}', ["body", "maxResults"], "greater_than_equal"),
        ('{"image": "AAAA", "maxResults": 751}', ["body", "maxResults"], "less_than_equal"),
        ('{"image": "AAAA", "maxResults": "7"}', ["body", "maxResults"], "int_type"),
        ('{"image": "AAAA", "maxResults": 1e999}', ["body", "maxResults"], "int_type"),
        ('{"image": "AAAA", "detectSortType": 9}', ["body", "detectSortType"], "less_than_equal"),
        ('{"image": ""}', ["body", "image"], "image_corrupt"),
        ('{"image": "AAAA"}', ["body", "image"], "image_unsupported_format"),
        ('{"image": "A"}', ["body", "image"], "base64_invalid"),
        ('{"image": "/9j/ 4AAQ"}', ["body", "image"], "base64_invalid"),
        ('{"image": "http://127.0.0.1/face.jpg"}', ["body", "image"], "base64_invalid"),
        ('{"image": "data:text/plain;base64,AAAA"}', ["body", "image"], "base64_invalid"),
        ('{"image": "/9j/2wAA"}', ["body", "image"], "image_corrupt"),
    ],
)
def test_bad_json(server: Server, body: str | bytes, place: list[Any], kind: str) -> None:
    assert reason(server.post("/v1/detect", content=body, headers=JSON)) == (place, kind)


def test_the_field_that_is_to_blame_is_named(server: Server) -> None:
    photo = (server.folder / "docs" / "images" / "astronaut.jpg").read_bytes()
    good, bad = encoded(photo), encoded(photo[:2000])
    assert reason(server.post("/v1/score", json={"image1": good, "image2": bad})) == (
        ["body", "image2"],
        "image_corrupt",
    )
    assert reason(server.post("/v1/file/score", files={"image1": photo[:2000], "image2": photo})) == (
        ["body", "image1"],
        "image_corrupt",
    )
    assert reason(server.post("/v1/feature-only", json={"image": good})) == (["body", "image"], "image_wrong_size")


def test_features_that_are_none(server: Server) -> None:
    photo = (server.folder / "docs" / "images" / "astronaut.jpg").read_bytes()
    feature = server.answer("/v1/file/feature", files={"image": photo})["feature"]
    damaged = feature[:100] + ("A" if feature[100] != "A" else "B") + feature[101:]
    for broken in ("", "AAAA", feature[:-4], damaged):
        body = {"feature1": feature, "feature2": broken}
        assert reason(server.post("/v1/feature-score", json=body)) == (["body", "feature2"], "feature_invalid")


def test_forms(server: Server) -> None:
    photo = (server.folder / "docs" / "images" / "astronaut.jpg").read_bytes()
    assert reason(server.post("/v1/file/detect", data={"image": "text"}, files={"x": b"y"})) == (
        ["body", "image"],
        "file_expected",
    )
    long_text = {"image": encoded(photo) * 20}
    assert reason(server.post("/v1/file/detect", data=long_text, files={"x": b"y"}))[1] == "file_expected"
    for number in ("1_0", "7.0", "x"):
        refused = server.post("/v1/file/detect", data={"maxResults": number}, files={"image": photo})
        assert reason(refused) == (["body", "maxResults"], "int_parsing")
    assert reason(server.post("/v1/file/detect", files={"other": photo})) == (["body", "image"], "missing")
    headers = {"content-type": "multipart/form-data"}
    assert server.post("/v1/file/detect", content=b"--x", headers=headers).status_code == 400
    lied_about = {"image": ("../../etc/passwd", photo, "text/html")}
    assert len(server.answer("/v1/file/detect", files=lied_about)["faces"]) == 1


def test_what_clients_may_send_besides(server: Server) -> None:
    photo = encoded((server.folder / "docs" / "images" / "astronaut.jpg").read_bytes())
    lines = "\r\n".join(photo[at : at + 76] for at in range(0, len(photo), 76))
    for image in (photo, f"data:image/jpeg;base64,{photo}", lines):
        assert len(server.answer("/v1/detect", json={"image": image})["faces"]) == 1
    without_type = server.post("/v1/detect", content=json.dumps({"image": photo, "seq": 2**70}))
    assert without_type.json()["seq"] == 2**70


def test_bodies_over_the_cap(server: Server) -> None:
    large = b" " * (11 * 1024 * 1024)
    assert server.post("/v1/detect", content=large, headers=JSON).status_code == 413
    chunks = (large[at : at + 65536] for at in range(0, len(large), 65536))
    assert server.post("/v1/detect", content=chunks, headers=JSON).status_code == 413
    assert server.post("/v1/file/detect", files={"image": large}).status_code == 413


def test_an_image_of_a_hundred_megapixels_in_a_few_kilobytes(server: Server) -> None:
    huge = black_png(13_000, 13_000)
    assert len(huge) < 50_000
    assert reason(server.post("/v1/file/detect", files={"image": huge})) == (["body", "image"], "image_too_many_pixels")
