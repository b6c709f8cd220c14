"""docs/importing.md: its descriptions are read as a user's would be."""

import re
from pathlib import Path

import pytest

from models.catalog import DetectorSpec, EmbedderSpec, Frozen, InputSpec, ModelDescription, catalog, read_description
from models.decoding import DECODINGS

PAGE = (Path(__file__).parents[2] / "docs" / "importing.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


def read(block: str, folder: Path) -> ModelDescription:
    file = folder / "mine.toml"
    file.write_text(block, encoding="utf-8")
    return read_description(file, "0" * 64)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_description_is_one(tmp_path: Path, block: str) -> None:
    description = read(block, tmp_path)
    assert description.id not in catalog()
    if description.detector is not None:
        tail = DECODINGS[description.detector.decoding](description.input.size, description.detector.candidates)
        assert len(description.detector.outputs) == len(tail.heads)


def test_there_is_one_for_each_family(tmp_path: Path) -> None:
    read_ones = [read(block, tmp_path) for block in BLOCKS]
    assert {each.detector.decoding for each in read_ones if each.detector} == set(DECODINGS)
    assert any(each.embedder for each in read_ones)


def test_every_field_is_told() -> None:
    sections: dict[str, type[Frozen]] = {"input": InputSpec, "detector": DetectorSpec, "embedder": EmbedderSpec}
    fields = ModelDescription.model_fields.keys() - {*sections, "starter", "source"}
    fields |= {f"{name}.{field}" for name, section in sections.items() for field in section.model_fields}
    table = PAGE.partition("## The description")[2].partition("## The dry run")[0]
    assert fields == {name for row in re.findall(r"(?m)^\| (`.*?`) \|", table) for name in re.findall("`(.*?)`", row)}
