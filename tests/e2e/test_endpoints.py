"""Every endpoint on real photographs: faces where they are, the same person alike, different people not."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import api
from faces.alignment import similarity
from faces.templates import ARCFACE_SIZE, ARCFACE_TEMPLATE
from tests.e2e.running import Server, encoded, jpeg

pytestmark = pytest.mark.e2e

Pixels = NDArray[np.uint8]
NOBODY = {
    "processed": False,
    "confidence": 0,
    "boundingBox": {"left": 0, "top": 0, "right": 0, "bottom": 0},
    "landmarks": [{"x": 0, "y": 0}] * 5,
}


@dataclass
class People:
    astronaut: Pixels
    hopper: Pixels
    cat: Pixels

    @property
    def both(self) -> Pixels:
        """The astronaut, and to her right Grace Hopper, whose face is the larger one."""
        return np.hstack([self.astronaut, cv2.resize(self.hopper, (512, 512))])


@pytest.fixture(scope="module")
def people(astronaut: Pixels, grace_hopper: Pixels, cat: Pixels) -> People:
    return People(astronaut, grace_hopper, cat)


def inside(face: Any, left: int, top: int, right: int, bottom: int) -> bool:
    """Whether the middle of the face's box lies in the given one, and every landmark in the face's own."""
    box = face["boundingBox"]
    x, y = (box["left"] + box["right"]) / 2, (box["top"] + box["bottom"]) / 2
    points = [(p["x"], p["y"]) for p in face["landmarks"]]
    holds = all(box["left"] <= px <= box["right"] and box["top"] <= py <= box["bottom"] for px, py in points)
    return bool(face["processed"] and 0.5 < face["confidence"] <= 1 and holds and left < x < right and top < y < bottom)


def as_seen(face: Any) -> bool:
    """Left eye left of the right one, nose below the eyes, mouth below the nose."""
    left_eye, right_eye, nose, left_mouth, right_mouth = face["landmarks"]
    return bool(
        left_eye["x"] < right_eye["x"]
        and left_mouth["x"] < right_mouth["x"]
        and max(left_eye["y"], right_eye["y"]) < nose["y"] < min(left_mouth["y"], right_mouth["y"])
    )


def compare(server: Server, first: bytes, second: bytes) -> float:
    return float(server.answer("/v1/file/score", files={"image1": first, "image2": second})["score"])


def test_detect_finds_the_astronaut(server: Server, people: People) -> None:
    answer = server.answer("/v1/detect", json={"image": encoded(jpeg(people.astronaut)), "seq": 7})
    assert answer["seq"] == 7
    [face] = answer["faces"]
    assert inside(face, 190, 80, 260, 150)
    assert as_seen(face)


def test_detect_finds_two_people_in_any_order_asked_for(server: Server, people: People) -> None:
    image = encoded(jpeg(people.both))

    def order(kind: int, limit: int = 750) -> list[str]:
        body = {"image": image, "detectSortType": kind, "maxResults": limit}
        faces = server.answer("/v1/detect", json=body)["faces"]
        return ["astronaut" if face["boundingBox"]["left"] < 512 else "hopper" for face in faces]

    assert sorted(order(0)) == ["astronaut", "hopper"]
    assert order(1) == ["hopper", "astronaut"]
    assert order(2) == ["astronaut", "hopper"]
    # 512 is the middle: her face is at 226, Hopper's at 778 with its larger box.
    assert order(3) == ["hopper", "astronaut"]
    assert order(1, limit=1) == ["hopper"]


def test_no_face_is_an_answer(server: Server, people: People) -> None:
    cat = jpeg(people.cat)
    assert server.answer("/v1/detect", json={"image": encoded(cat)}) == {"seq": 0, "faces": []}
    feature = server.answer("/v1/feature", json={"image": encoded(cat)})
    assert feature == {"version": api.__version__, "feature": "", "face_detect": NOBODY}
    embeddings = server.answer("/v1/embeddings", json={"image": encoded(cat)})
    assert embeddings == {"version": api.__version__, "embeddings": [], "face_detect": NOBODY}
    assert server.answer("/v1/multi-feature", json={"image": encoded(cat)})["feature_info_list"] == []
    assert server.answer("/v1/multi-embeddings", json={"image": encoded(cat)})["embeddings_info_list"] == []


def test_score_without_a_face_in_one_image_is_zero_and_says_which(server: Server, people: People) -> None:
    files = {"image1": jpeg(people.cat), "image2": jpeg(people.astronaut)}
    answer = server.answer("/v1/file/score", files=files)
    assert answer["score"] == 0
    assert [face["processed"] for face in answer["face_detects"]] == [False, True]


def test_the_one_face_endpoints_take_the_largest_face(server: Server, people: People) -> None:
    body = {"image": encoded(jpeg(people.both))}
    for path in ("/v1/feature", "/v1/embeddings"):
        assert server.answer(path, json=body)["face_detect"]["boundingBox"]["left"] > 512


def _resized(pixels: Pixels, factor: float) -> Pixels:
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=way).astype(np.uint8)


CHANGES: dict[str, Callable[[Pixels], bytes]] = {
    "same": jpeg,
    "half": lambda pixels: jpeg(_resized(pixels, 0.5)),
    "double": lambda pixels: jpeg(_resized(pixels, 2)),
    "flipped": lambda pixels: jpeg(np.ascontiguousarray(pixels[:, ::-1])),
    "brighter": lambda pixels: jpeg(np.clip(pixels.astype(int) + 40, 0, 255).astype(np.uint8)),
    "darker": lambda pixels: jpeg((pixels * 0.6).astype(np.uint8)),
    "grey": lambda pixels: jpeg(np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)),
    # Stored a quarter turn to the left; orientation 6 asks for one to the right.
    "turned by exif": lambda pixels: jpeg(np.ascontiguousarray(np.rot90(pixels)), orientation=6),
}


@pytest.mark.parametrize("person", ["astronaut", "hopper"])
@pytest.mark.parametrize("change", CHANGES)
def test_the_same_person_scores_above_one_half(server: Server, people: People, person: str, change: str) -> None:
    original: Pixels = getattr(people, person)
    assert compare(server, jpeg(original), CHANGES[change](original)) > 0.5


@pytest.mark.parametrize("change", CHANGES)
def test_different_people_score_below_one_half(server: Server, people: People, change: str) -> None:
    assert compare(server, jpeg(people.astronaut), CHANGES[change](people.hopper)) < 0.5


def test_coordinates_are_those_of_the_upright_picture(server: Server, people: People) -> None:
    upright = server.answer("/v1/file/detect", files={"image": jpeg(people.astronaut)})["faces"][0]
    turned = CHANGES["turned by exif"](people.astronaut)
    face = server.answer("/v1/file/detect", files={"image": turned})["faces"][0]
    for side in ("left", "top", "right", "bottom"):
        assert abs(face["boundingBox"][side] - upright["boundingBox"][side]) <= 3


def test_feature_score_equals_score(server: Server, people: People) -> None:
    for first, second in ((people.astronaut, people.hopper), (people.hopper, _resized(people.hopper, 0.7))):
        photos = [jpeg(first), jpeg(second)]
        features = [server.answer("/v1/file/feature", files={"image": photo})["feature"] for photo in photos]
        from_features = server.answer("/v1/feature-score", json={"feature1": features[0], "feature2": features[1]})
        assert from_features["score"] == pytest.approx(compare(server, *photos), abs=1e-3)


def test_embeddings_are_unit_vectors_and_equal_to_the_feature(server: Server, people: People) -> None:
    photo = {"image": encoded(jpeg(people.astronaut))}
    embedding = np.array(server.answer("/v1/embeddings", json=photo)["embeddings"])
    assert len(embedding) == 128
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)
    feature = base64.b64decode(server.answer("/v1/feature", json=photo)["feature"])
    assert np.frombuffer(feature, "<f4", 128, 24) == pytest.approx(embedding, abs=1e-5)


def test_several_people_are_embedded_each_as_alone(server: Server, people: People) -> None:
    body = {"image": encoded(jpeg(people.both))}
    found = server.answer("/v1/multi-embeddings", json=body)["embeddings_info_list"]
    features = server.answer("/v1/multi-feature", json=body)["feature_info_list"]
    assert len(found) == len(features) == 2
    assert [each["face_detect"] for each in found] == [each["face_detect"] for each in features]
    alone = {
        name: np.array(server.answer("/v1/file/embeddings", files={"image": jpeg(pixels)})["embeddings"])
        for name, pixels in (("astronaut", people.astronaut), ("hopper", people.hopper))
    }
    for each in found:
        name = "astronaut" if each["face_detect"]["boundingBox"]["left"] < 512 else "hopper"
        other = "hopper" if name == "astronaut" else "astronaut"
        assert np.array(each["embeddings"]) @ alone[name] > 0.95 > np.array(each["embeddings"]) @ alone[other]
    assert len(server.answer("/v1/multi-feature", json={**body, "maxResults": 1})["feature_info_list"]) == 1


@pytest.mark.parametrize("person", ["astronaut", "hopper"])
def test_an_aligned_crop_gives_nearly_the_embedding_of_the_whole_picture(
    server: Server, people: People, person: str
) -> None:
    pixels: Pixels = getattr(people, person)
    whole = server.answer("/v1/embeddings", json={"image": encoded(jpeg(pixels))})
    points = np.array([(p["x"] + 0.5, p["y"] + 0.5) for p in whole["face_detect"]["landmarks"]], np.float32)
    crop = cv2.warpAffine(pixels, similarity(points, ARCFACE_TEMPLATE), (ARCFACE_SIZE, ARCFACE_SIZE)).astype(np.uint8)
    only = server.answer("/v1/embeddings-only", json={"image": encoded(jpeg(crop, quality=98))})
    assert only["face_detect"] == NOBODY
    assert np.dot(only["embeddings"], whole["embeddings"]) > 0.98
    feature = server.answer("/v1/feature-only", json={"image": encoded(jpeg(crop, quality=98))})["feature"]
    assert np.frombuffer(base64.b64decode(feature), "<f4", 128, 24) == pytest.approx(only["embeddings"], abs=1e-5)


def test_file_endpoints_answer_as_their_json_twins(server: Server, people: People) -> None:
    photo = jpeg(people.both)
    crop = jpeg(cv2.resize(people.astronaut, (ARCFACE_SIZE, ARCFACE_SIZE)).astype(np.uint8))
    other = jpeg(people.astronaut)
    pairs: list[tuple[str, dict[str, bytes], dict[str, int]]] = [
        ("detect", {"image": photo}, {"seq": 3, "maxResults": 1, "detectSortType": 2}),
        ("feature", {"image": photo}, {}),
        ("feature-only", {"image": crop}, {}),
        ("embeddings", {"image": photo}, {}),
        ("embeddings-only", {"image": crop}, {}),
        ("score", {"image1": photo, "image2": other}, {}),
    ]
    for name, images, parameters in pairs:
        from_json = server.answer(f"/v1/{name}", json={**{k: encoded(v) for k, v in images.items()}, **parameters})
        from_file = server.answer(f"/v1/file/{name}", files=images, data=parameters)
        assert _rounded(from_file) == _rounded(from_json), name


def _rounded(answer: Any) -> Any:
    """An answer without the last bits of its numbers, which differ with the size of the batch."""
    match answer:
        case dict():
            return {name: _rounded(value) for name, value in answer.items() if name != "feature"}
        case list():
            return [_rounded(value) for value in answer]
        case float():
            return round(answer, 4)
        case _:
            return answer
