"""The catalog's other models, served by naming them in a setting. Stand-ins where the real ones are not stored."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models import licence, store
from models.catalog import describe
from tests.e2e.running import NewServer, encoded, jpeg
from tests.models import originals

pytestmark = pytest.mark.e2e

DETECTOR, EMBEDDER = "scrfd-10g", "arcface-w600k-r50"


def test_two_settings_choose_other_models(
    new_server: NewServer, astronaut: NDArray[np.uint8], request: pytest.FixtureRequest
) -> None:
    server = new_server(FACEBENTO_DETECTOR=DETECTOR, FACEBENTO_EMBEDDER=EMBEDDER)
    store_folder = request.getfixturevalue("store_folder")
    for description in map(describe, (DETECTOR, EMBEDDER)):
        graph, kind = originals.graph(description, request.config.getoption("original_models"))
        originals.tell(description, kind)
        accepted = licence.agree(description, lambda _: None, accept=True, command="")
        store.save(description, graph, accepted)
    (server.home / "models").unlink()
    store_folder.rename(server.home / "models")
    server.start()

    assert server.read("/v1/info/model") == {"models": [DETECTOR, EMBEDDER]}
    told: list[dict[str, Any]] = [server.read(f"/v1/info/model/{name}") for name in (DETECTOR, EMBEDDER)]
    assert [each["licence_restricts_use"] for each in told] == [True, True]
    assert all(each["licence_accepted_at"] for each in told)
    assert (told[1]["dimensions"], told[1]["input_size"]) == (512, 112)

    crop = encoded(jpeg(np.ascontiguousarray(astronaut[60:172, 170:282])))
    found = server.answer("/v1/embeddings-only", json={"image": crop})
    assert len(found["embeddings"]) == 512
    assert np.linalg.norm(found["embeddings"]) == pytest.approx(1, abs=1e-3)
    feature = server.answer("/v1/feature-only", json={"image": crop})["feature"]
    score = server.answer("/v1/feature-score", json={"feature1": feature, "feature2": feature})["score"]
    assert score == pytest.approx(1, abs=1e-3)
    image = encoded(jpeg(astronaut))
    for face in server.answer("/v1/detect", json={"image": image, "maxResults": 5})["faces"]:
        assert face["confidence"] > 0.5 or not face["processed"]
    assert server.stop() == 0
