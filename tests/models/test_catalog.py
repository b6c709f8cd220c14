import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from faces.templates import ARCFACE_TEMPLATE
from models import catalog as catalog_module
from models.catalog import AddressSource, ModelDescription, catalog, describe, read_description
from models.errors import DescriptionError, UnknownModelError

Fields = dict[str, Any]


def test_starter_models_are_a_detector_and_an_embedder() -> None:
    assert [each.role for each in catalog().values() if each.starter] == ["detector", "embedder"]


def test_every_catalog_model_but_an_imported_one_says_where_it_comes_from() -> None:
    assert all(each.source is not None for each in catalog().values())


def test_the_score_of_an_embedder_is_a_half_at_one_of_its_operating_points() -> None:
    for each in catalog().values():
        if each.embedder is not None:
            assert each.embedder.score.cosine in {point.cosine for point in each.embedder.operating_points}


def test_catalog_has_the_models_that_users_know() -> None:
    roles = {each.id: each.role for each in catalog().values()}
    assert roles == {
        "centerface": "detector",
        "dlib-resnet-v1": "embedder",
        "yunet-2023mar": "detector",
        "sface-2021dec": "embedder",
        "scrfd-10g": "detector",
        "arcface-w600k-r50": "embedder",
    }
    assert {each.id for each in catalog().values() if each.acceptance} == {"scrfd-10g", "arcface-w600k-r50"}


@pytest.mark.parametrize(
    ("model_id", "size", "color", "mean", "scale"),
    [
        ("centerface", 640, "RGB", 0, 1),  # its authors' centerface.py
        ("dlib-resnet-v1", 150, "RGB", (122.782, 117.001, 104.298), 1 / 256),  # dlib's input_rgb_image_sized
        ("yunet-2023mar", 640, "BGR", 0, 1),  # OpenCV's face_detect.cpp
        ("sface-2021dec", 112, "RGB", 0, 1),  # OpenCV's face_recognize.cpp
        ("scrfd-10g", 640, "RGB", 127.5, 1 / 128),  # InsightFace's scrfd.py
        ("arcface-w600k-r50", 112, "RGB", 127.5, 1 / 127.5),  # InsightFace's arcface_onnx.py
    ],
)
def test_a_model_is_fed_as_its_makers_feed_it(model_id: str, size: int, color: str, mean: Any, scale: float) -> None:
    fed = describe(model_id).input
    assert (fed.size, fed.color) == (size, color)
    assert fed.mean == pytest.approx(mean if isinstance(mean, tuple) else (mean,) * 3)
    assert fed.scales == pytest.approx((scale,) * 3)


def test_operating_points_tell_where_they_come_from() -> None:
    for each in catalog().values():
        for point in each.embedder.operating_points if each.embedder is not None else ():
            assert point.source
            assert (point.accuracy is None) == (point.data == "none published")


def test_arcface_stands_for_the_template_of_the_alignment(embedder_fields: Fields) -> None:
    embedder_fields["input"]["size"] = 112
    embedder_fields["embedder"]["template"] = "arcface"
    description = ModelDescription.model_validate(embedder_fields)
    assert description.embedder is not None
    assert description.embedder.template == ARCFACE_TEMPLATE
    # The points are what is stored, and what the fingerprint is of: written out, they are the same model.
    written = ModelDescription.model_validate_json(description.model_dump_json())
    assert written == description
    assert written.fingerprint == description.fingerprint


def test_reading_the_catalog_loads_no_image_code() -> None:
    """Every process of the service reads it."""
    code = "import sys, models.catalog as c; c.catalog(); print({'cv2', 'PIL', 'onnx'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("template", "size", "message"),
    [
        ("arcface", 150, "crops of 112 pixels, not of 150"),
        ("dlib", 150, "valid tuple"),
        ("ArcFace", 112, "valid tuple"),
    ],
)
def test_no_other_name_stands_for_a_template(embedder_fields: Fields, template: str, size: int, message: str) -> None:
    embedder_fields["input"]["size"] = size
    embedder_fields["embedder"]["template"] = template
    with pytest.raises(ValidationError, match=message):
        ModelDescription.model_validate(embedder_fields)


def test_unknown_id_lists_the_known_ones() -> None:
    with pytest.raises(UnknownModelError, match=r"'centreface'.*centerface, dlib-resnet-v1"):
        describe("centreface")


@pytest.mark.parametrize("model_id", ["", "-a", "a-", "A", "a_b", "a/b", "a:b", "x" * 64])
def test_ids_that_bentoml_or_a_path_would_choke_on_are_refused(detector_fields: Fields, model_id: str) -> None:
    with pytest.raises(ValidationError):
        ModelDescription.model_validate(detector_fields | {"id": model_id})


def test_a_role_needs_its_section_and_no_other(detector_fields: Fields, embedder_fields: Fields) -> None:
    with pytest.raises(ValidationError, match="found neither detector nor embedder"):
        ModelDescription.model_validate({key: detector_fields[key] for key in detector_fields if key != "detector"})
    with pytest.raises(ValidationError, match="found detector and embedder"):
        ModelDescription.model_validate(detector_fields | {"embedder": embedder_fields["embedder"]})


def test_dlib_files_hold_embedders_only(detector_fields: Fields) -> None:
    with pytest.raises(ValidationError, match="dlib"):
        ModelDescription.model_validate(detector_fields | {"format": "dlib"})


def test_fingerprint_of_the_starter_embedder_never_changes() -> None:
    # Features out there carry it: change it, and none of them can be compared with new ones any more.
    assert describe("dlib-resnet-v1").fingerprint == "c8a876f360c5801eef9c550a6ff78bfd"


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"summary": "x", "licence": "MIT", "starter": True}, True),
        ({"id": "another-name"}, True),
        ({"input": {"size": 2, "color": "RGB", "mean": [0, 0, 0], "scale": [1, 1, 1]}}, True),
        ({"input": {"size": 2, "color": "BGR", "mean": [0, 0, 0], "scale": 1}}, False),
        ({"sha256": "1" * 64}, False),
        ({"format": "dlib"}, False),
    ],
)
def test_fingerprint_follows_what_changes_an_embedding_and_nothing_else(
    embedder_fields: Fields, change: Fields, same: bool
) -> None:
    original = ModelDescription.model_validate(embedder_fields)
    changed = ModelDescription.model_validate(embedder_fields | change)
    assert (changed.fingerprint == original.fingerprint) is same
    assert len(bytes.fromhex(original.fingerprint)) == 16


def test_a_detector_has_no_fingerprint(detector: ModelDescription) -> None:
    with pytest.raises(TypeError, match="detector"):
        _ = detector.fingerprint


def test_version_follows_description_and_preparation(embedder_fields: Fields, monkeypatch: pytest.MonkeyPatch) -> None:
    original = ModelDescription.model_validate(embedder_fields)
    assert original.tag == f"tiny-embedder:{original.version}"
    assert ModelDescription.model_validate(embedder_fields | {"summary": "x"}).version != original.version
    before = original.version
    monkeypatch.setattr(catalog_module, "PREPARATION", catalog_module.PREPARATION + 1)
    assert original.version != before


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ({"url": "https://example.org/models/tiny.onnx"}, "tiny.onnx"),
        ({"url": "https://example.org/a%20b.zip", "archive": "0" * 64, "member": "x/tiny.onnx"}, "a b.zip"),
    ],
)
def test_a_file_at_an_address_is_called_as_its_last_part(detector_fields: Fields, source: Fields, name: str) -> None:
    described = ModelDescription.model_validate(detector_fields | {"source": source})
    assert isinstance(described.source, AddressSource)
    assert described.source.file_name == name
    assert ModelDescription.model_validate_json(described.model_dump_json()) == described


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"url": "http://example.org/tiny.onnx"}, r"source.address.url\n.*should match"),
        ({"url": "https://user:word@example.org/tiny.onnx"}, r"source.address.url\n.*should match"),
        ({"url": "https://example.org/"}, r"source.address.url\n.*should match"),
        ({"url": "https://example.org/tiny.zip", "member": "tiny.onnx"}, "give both or neither"),
        ({"package": "tiny"}, r"source.package.version\n.*required"),
    ],
)
def test_a_source_that_can_not_be_right_is_told_by_its_kind(
    detector_fields: Fields, source: Fields, message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelDescription.model_validate(detector_fields | {"source": source})


def test_terms_change_the_version_only_of_a_model_that_has_some(detector_fields: Fields) -> None:
    plain = ModelDescription.model_validate(detector_fields)
    assert not {"terms", "acceptance"} & plain.model_dump().keys()  # models stored before they came keep their version
    for change in ({"terms": "https://example.org/terms"}, {"acceptance": True}):
        assert ModelDescription.model_validate(detector_fields | change).version != plain.version


def test_a_licence_to_be_accepted_says_where_its_text_is() -> None:
    assert all(each.terms for each in catalog().values() if each.acceptance)


def test_five_equal_points_are_no_template(embedder_fields: Fields) -> None:
    embedder_fields["embedder"]["template"] = [[1, 1]] * 5
    with pytest.raises(ValidationError, match="the five points of the template are one"):
        ModelDescription.model_validate(embedder_fields)


def test_a_description_file_without_checksum_takes_the_computed_one(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("""
        id = "mine"
        role = "embedder"
        summary = "mine"
        licence = "MIT"
        format = "onnx"
        input = {size = 112, color = "RGB", mean = [127.5, 127.5, 127.5], scale = 0.0078125}
        [embedder]
        dimensions = 512
        template = [[38, 51], [73, 51], [56, 71], [41, 92], [70, 92]]
        score = {cosine = 0.4, steepness = 4}
    """)
    assert read_description(file, "a" * 64).sha256 == "a" * 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id = ", "can't be read as TOML"),
        (
            'id = "mine"\nrole = "recogniser"',
            r"role: Input should be 'detector' or 'embedder'; summary: Field required",
        ),
        ("[[model]]\nid = 'mine'", r"its sections are called \[input\], not \[model.input\]"),
        ("colour = 1", "colour: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_description_file_is_told_field_by_field(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(DescriptionError, match=message):
        read_description(file, "a" * 64)


def test_a_missing_description_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DescriptionError, match="No such file"):
        read_description(tmp_path / "none.toml", "a" * 64)
