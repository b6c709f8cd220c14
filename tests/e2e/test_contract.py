"""The service's own OpenAPI against the contract: paths, methods, parameters, media types, names, types, defaults."""

from typing import Any

import httpx
import pytest

from tests.e2e.running import Server

# How the contract's schemas are written down here: a field's type, `= default` where there is one, `!` where required.
SCHEMAS = {
    "Landmark": {"x": "integer", "y": "integer"},
    "BoundingBox": {"left": "integer", "top": "integer", "right": "integer", "bottom": "integer"},
    "DetectResult": {
        "processed": "boolean",
        "confidence": "number",
        "boundingBox": "BoundingBox",
        "landmarks": "[Landmark]",
    },
    "DetectReqBody": {
        "seq": "integer = 0",
        "maxResults": "integer = 750",
        "detectSortType": "integer = 0",
        "image": "string!",
    },
    "DetectResponse": {"seq": "integer", "faces": "[DetectResult]"},
    "FeatureReqBody": {"image": "string!"},
    "FeatureResponse": {"version": "string", "feature": "string", "face_detect": "DetectResult"},
    "FeatureInfoResult": {"feature": "string", "face_detect": "DetectResult"},
    "MultiFeatureReqBody": {"image": "string!", "maxResults": "integer = 128"},
    "MultiFeatureResponse": {"version": "string", "feature_info_list": "[FeatureInfoResult]"},
    "EmbeddingsReqBody": {"image": "string!"},
    "EmbeddingsResponse": {"version": "string", "embeddings": "[number]", "face_detect": "DetectResult"},
    "EmbeddingsInfoResult": {"embeddings": "[number]", "face_detect": "DetectResult"},
    "MultiEmbeddingsReqBody": {"image": "string!", "maxResults": "integer = 128"},
    "MultiEmbeddingsResponse": {"version": "string", "embeddings_info_list": "[EmbeddingsInfoResult]"},
    "ScoreReqBody": {"image1": "string!", "image2": "string!"},
    "ScoreResponse": {"score": "number", "face_detects": "[DetectResult]"},
    "FeatureScoreReqBody": {"feature1": "string!", "feature2": "string!"},
    "FeatureScoreResponse": {"score": "number"},
    "HTTPValidationError": {"detail": "[ValidationError]"},
    "ValidationError": {"loc": "[string|integer]!", "msg": "string!", "type": "string!"},
}
IMAGE_FORM = {"image": "string!"}
# Path -> what is sent (a schema's name for JSON, fields for a form) and the schema of the answer.
POSTS: dict[str, tuple[str | dict[str, str], str]] = {
    "/v1/detect": ("DetectReqBody", "DetectResponse"),
    "/v1/feature": ("FeatureReqBody", "FeatureResponse"),
    "/v1/feature-only": ("FeatureReqBody", "FeatureResponse"),
    "/v1/multi-feature": ("MultiFeatureReqBody", "MultiFeatureResponse"),
    "/v1/embeddings": ("EmbeddingsReqBody", "EmbeddingsResponse"),
    "/v1/embeddings-only": ("EmbeddingsReqBody", "EmbeddingsResponse"),
    "/v1/multi-embeddings": ("MultiEmbeddingsReqBody", "MultiEmbeddingsResponse"),
    "/v1/score": ("ScoreReqBody", "ScoreResponse"),
    "/v1/feature-score": ("FeatureScoreReqBody", "FeatureScoreResponse"),
    "/v1/file/detect": (SCHEMAS["DetectReqBody"], "DetectResponse"),
    "/v1/file/feature": (IMAGE_FORM, "FeatureResponse"),
    "/v1/file/feature-only": (IMAGE_FORM, "FeatureResponse"),
    "/v1/file/embeddings": (IMAGE_FORM, "EmbeddingsResponse"),
    "/v1/file/embeddings-only": (IMAGE_FORM, "EmbeddingsResponse"),
    "/v1/file/score": ({"image1": "string!", "image2": "string!"}, "ScoreResponse"),
}
GETS = ["/v1/health", "/v1/info/server", "/v1/info/model", "/v1/info/model/{model_name}"]

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def openapi(server: Server) -> Any:
    return httpx.get(f"{server.url}/openapi.json").json()


def written(schema: dict[str, Any]) -> str:
    """A field's schema in the notation above."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return "|".join(written(each) for each in schema["anyOf"])
    if schema["type"] == "array":
        return f"[{written(schema['items'])}]"
    return str(schema["type"]) + (f" = {schema['default']}" if "default" in schema else "")


def fields(schema: dict[str, Any]) -> dict[str, str]:
    required = schema.get("required", [])
    return {name: written(each) + "!" * (name in required) for name, each in schema["properties"].items()}


def test_the_endpoints_are_the_contracts(openapi: Any) -> None:
    found = {(method, path) for path, methods in openapi["paths"].items() for method in methods}
    assert found == {("get", path) for path in GETS} | {("post", path) for path in POSTS}


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema(openapi: Any, name: str) -> None:
    assert fields(openapi["components"]["schemas"][name]) == SCHEMAS[name]


@pytest.mark.parametrize("path", POSTS)
def test_post(openapi: Any, path: str) -> None:
    sent, answered = POSTS[path]
    post = openapi["paths"][path]["post"]
    [parameter] = post["parameters"]
    assert (parameter["name"], parameter["in"], parameter["required"]) == ("x-api-key", "header", True)
    assert parameter["schema"]["type"] == "string"
    [(media_type, content)] = post["requestBody"]["content"].items()
    assert post["requestBody"]["required"] is True
    if isinstance(sent, str):
        assert (media_type, written(content["schema"])) == ("application/json", sent)
    else:
        assert media_type == "multipart/form-data"
        assert fields(openapi["components"]["schemas"][written(content["schema"])]) == sent
    for status, schema in (("200", answered), ("422", "HTTPValidationError")):
        assert written(post["responses"][status]["content"]["application/json"]["schema"]) == schema


def test_the_model_is_named_in_the_path(openapi: Any) -> None:
    get = openapi["paths"]["/v1/info/model/{model_name}"]["get"]
    [parameter] = get["parameters"]
    assert (parameter["name"], parameter["in"], parameter["required"]) == ("model_name", "path", True)
    assert written(get["responses"]["422"]["content"]["application/json"]["schema"]) == "HTTPValidationError"


def test_the_pages_need_no_other_host(server: Server) -> None:
    page = httpx.get(f"{server.url}/docs")
    assert page.status_code == 200
    assert "//" not in page.text.replace("<!--", "").replace("// ", "")
    assert httpx.get(f"{server.url}/static-offline-docs/swagger-ui-bundle.js").status_code == 200
