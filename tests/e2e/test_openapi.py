"""Schemathesis against the running server, with the service's own OpenAPI description: what it promises, it does."""

import base64
import copy
from typing import Any

import numpy as np
import pytest
import schemathesis
import skimage.data
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis import Case, CheckContext, Response
from schemathesis.config import SchemathesisConfig
from schemathesis.core.parameters import ParameterLocation
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    ensure_resource_availability,
    ignored_auth,
    object_level_authorization,
    use_after_free,
)
from schemathesis.transport.serialization import Binary

from api.app import create_app
from api.endpoints import faces_api
from api.gate import KEY_HEADER
from api.info import info_api
from faces import feature
from models.catalog import describe
from tests.e2e.running import HTTP, Server
from tests.inputs import pictures

pytestmark = pytest.mark.e2e

# Of the size that the -only endpoints ask for, and good for all others.
PHOTO = np.ascontiguousarray(skimage.data.astronaut()[60:172, 170:282])  # type: ignore[no-untyped-call]
FILES = [pictures.encoded(PHOTO, fmt) for fmt in ("PNG", "JPEG", "WEBP", "BMP")]
EMBEDDER = describe("dlib-resnet-v1")
FEATURES = [
    feature.encode(np.eye(128, dtype=np.float32)[axis], bytes.fromhex(EMBEDDER.fingerprint)) for axis in range(3)
]

schemathesis.openapi.format("picture", st.sampled_from(FILES).map(lambda file: base64.b64encode(file).decode()))
schemathesis.openapi.format("picture-file", st.sampled_from(FILES).map(Binary))
schemathesis.openapi.format("feature", st.sampled_from(FEATURES).map(lambda each: base64.b64encode(each).decode()))

EXCLUDED = [
    # They follow links between operations, of which there are none: nothing is stored.
    use_after_free,
    ensure_resource_availability,
    object_level_authorization,
    # It wants 401 for a missing key, where the contract says 422. `key_is_asked_for`, below, asks for both.
    ignored_auth,
]


DESCRIBED: dict[str, Any] = create_app(info_api, faces_api).openapi()


def with_pictures() -> dict[str, Any]:
    """The description, where an image is an image, as no schema can say: then whatever fits it must be accepted."""
    document = copy.deepcopy(DESCRIBED)
    for schema in document["components"]["schemas"].values():
        for name, each in schema["properties"].items():
            if name.startswith("image"):
                each["format"] = "picture-file" if each.get("format") == "binary" else "picture"
            elif name in ("feature1", "feature2"):
                each["format"] = "feature"
    return document


def schema(document: dict[str, Any], *accepted: str) -> BaseSchema:
    """accepted: the statuses that a request which fits the description may get."""
    config = {
        "seed": 0,
        "generation": {"database": "none"},
        "checks": {"positive_data_acceptance": {"expected-statuses": list(accepted)}},
    }
    return schemathesis.openapi.from_dict(document, config=SchemathesisConfig.from_dict(config))


def key_is_asked_for(_: CheckContext, response: Response, case: Case[Any]) -> None:
    """What was answered to the right key is answered to nobody else."""
    if not (response.status_code == 200 and case.operation.method == "post"):
        return
    url = response.request.url
    assert url
    for headers, status in (({}, 422), ({KEY_HEADER: "wrong"}, 401)):
        refused = HTTP.post(url, headers=headers)
        assert refused.status_code == status


def send(case: Case[Any], server: Server) -> None:
    # Where the key is to be wrong or missing, it stays so.
    header = case.meta.components.get(ParameterLocation.HEADER) if case.meta else None
    if KEY_HEADER in case.headers and not (header and header.mode.is_negative):
        case.headers[KEY_HEADER] = server.key
    case.call_and_validate(
        base_url=server.url,
        additional_checks=[key_is_asked_for],
        excluded_checks=EXCLUDED,
    )


def some(share: float) -> settings:
    """A share of the examples that the profile asks for: each is a request to one of 19 operations, some with faces."""
    return settings(max_examples=round(settings().max_examples * share), suppress_health_check=list(HealthCheck))


# 404: of any text for a name, none is a model's.
@schema(with_pictures(), "200", "404").parametrize()
@some(0.05)
def test_what_fits_the_description_is_accepted_and_what_does_not_is_refused(case: Case[Any], server: Server) -> None:
    send(case, server)


@schema(DESCRIBED, "200", "404", "422").parametrize()
@some(0.2)
def test_any_text_for_an_image_is_refused_as_described(case: Case[Any], server: Server) -> None:
    send(case, server)
