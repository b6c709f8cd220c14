import datetime as dt
from pathlib import Path
from typing import Any

import bentoml
import click
import pytest
from pydantic import ValidationError

from models import store
from models.catalog import ModelDescription, catalog
from models.errors import PackingError
from models.licence import Acceptance
from models.packing import REDISTRIBUTABLE, BentoArguments, Reference, check, commit, labels, without_it
from models.store import StoredModel
from tests.repository import commit_all, git

Fields = dict[str, Any]
NOTHING: frozenset[Any] = frozenset()

pytestmark = pytest.mark.usefixtures("store_folder")


@pytest.fixture
def free(embedder: ModelDescription) -> StoredModel:
    return store.save(embedder, b"graph")


@pytest.fixture
def damaged(detector: ModelDescription) -> StoredModel:
    saved = store.save(detector, b"graph")
    saved.path.write_bytes(b"grapi")
    return saved


def licensed(fields: Fields, licence: str) -> StoredModel:
    return store.save(ModelDescription.model_validate(fields | {"licence": licence}), b"graph")


def test_free_and_undamaged_models_may_go_in(free: StoredModel, detector: ModelDescription) -> None:
    check([store.save(detector, b"graph"), free], NOTHING)


def test_a_damaged_model_may_not(damaged: StoredModel, free: StoredModel) -> None:
    with pytest.raises(PackingError) as told:
        check([damaged, free], NOTHING)
    head, reason, flag = str(told.value).splitlines()
    assert head == "no bento is built:"
    assert reason.startswith(f"{damaged.tag} is damaged")
    assert "Run: facebento models import" in reason
    assert flag == "To build one nevertheless: --arg allow=altered"


def test_nor_one_whose_graph_was_deleted(damaged: StoredModel) -> None:
    damaged.path.unlink()
    with pytest.raises(PackingError, match=rf"(?s){damaged.tag} is damaged.*No such file.*allow=altered$"):
        check([damaged], NOTHING)
    check([damaged], frozenset({"altered"}))


@pytest.mark.parametrize(
    "licence", ["GPL-3.0-only", "mit", "MIT OR GPL-3.0-only", "CC-BY-NC-4.0", "Free for research, ask for more.", ""]
)
def test_nor_one_that_nobody_said_may_be_passed_on(detector_fields: Fields, licence: str) -> None:
    model = licensed(detector_fields, licence)
    with pytest.raises(PackingError) as told:
        check([model], NOTHING)
    _, reason, flag = str(told.value).splitlines()
    assert reason.startswith(f"{model.tag} has the licence {licence!r}")
    assert flag == "To build one nevertheless: --arg allow=unlicensed"


def test_nor_one_whose_terms_somebody_accepted_for_themselves(detector_fields: Fields) -> None:
    terms = {"licence": "for research alone", "terms": None}
    description = ModelDescription.model_validate(detector_fields | {"acceptance": True} | terms)
    model = store.save(
        description, b"graph", Acceptance.model_validate(terms | {"accepted_at": dt.datetime.now(dt.UTC)})
    )
    with pytest.raises(PackingError, match=r"(?s)has the licence 'for research alone'.*--arg allow=unlicensed$"):
        check([model], NOTHING)
    check([model], frozenset({"unlicensed"}))


def test_all_that_is_wrong_is_told_at_once(detector_fields: Fields, embedder_fields: Fields) -> None:
    both, other = licensed(detector_fields, "mine alone"), licensed(embedder_fields, "mine too")
    both.path.write_bytes(b"grapi")
    with pytest.raises(PackingError) as told:
        check([both, other], NOTHING)
    _, *reasons, flag = str(told.value).splitlines()
    assert [reason.split(" ")[0] for reason in reasons] == [both.tag, both.tag, other.tag]
    assert ["licence" in reason for reason in reasons] == [True, False, True]
    assert flag == "To build one nevertheless: --arg allow=altered,unlicensed"


def test_a_waiver_is_for_its_own_kind_alone(damaged: StoredModel, embedder_fields: Fields) -> None:
    models = [damaged, licensed(embedder_fields, "mine alone")]
    # The flag that is named lets it pass, without taking back what was allowed before.
    with pytest.raises(PackingError, match=r"(?s)^((?!licence).)*allow=altered,unlicensed$"):
        check(models, frozenset({"unlicensed"}))
    with pytest.raises(PackingError, match=r"(?s)^((?!damaged).)*allow=altered,missing,unlicensed$"):
        check(models, frozenset({"altered", "missing"}))
    with pytest.raises(PackingError):
        check(models, frozenset({"missing"}))
    check(models, frozenset({"altered", "unlicensed"}))


def test_a_model_that_is_not_stored_is_judged_by_its_licence(
    detector: ModelDescription, embedder_fields: Fields
) -> None:
    check([store.expected(detector)], NOTHING)
    unlicensed = store.expected(ModelDescription.model_validate(embedder_fields | {"licence": "mine alone"}))
    with pytest.raises(PackingError, match=r"allow=unlicensed$"):
        check([unlicensed], NOTHING)


def test_the_catalog_holds_models_that_anybody_may_pass_on() -> None:
    assert {model.licence for model in catalog().values() if model.starter} <= REDISTRIBUTABLE


def test_labels_say_what_is_in_it(damaged: StoredModel, free: StoredModel, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "file").touch()
    told = {
        "git_commit": commit_all(project),
        "detector": "tiny-detector",
        "detector_licence": "CC0-1.0",
        "embedder": "tiny-embedder",
        "embedder_licence": "CC0-1.0",
    }
    assert labels([damaged, free], NOTHING, project) == told
    assert labels([damaged, free], frozenset({"unlicensed", "altered"}), project) == told | {
        "allowed": "altered,unlicensed"
    }


def test_the_commit_is_told_whole_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("one")
    expected = commit_all(tmp_path)
    assert len(expected) == 40
    assert commit(tmp_path) == expected
    git(tmp_path, "tag", "--annotate", "v1.0.0", "--message", "a tag says less: it can be moved")
    assert commit(tmp_path) == expected
    (tmp_path / "file").write_text("two")
    assert commit(tmp_path) == f"{expected}-dirty"
    git(tmp_path, "add", "file")
    assert commit(tmp_path) == f"{expected}-dirty"
    git(tmp_path, "reset", "--quiet", "--hard")
    (tmp_path / "new").write_text("a bento takes it in, too")
    assert commit(tmp_path) == f"{expected}-dirty"
    (tmp_path / ".git/info/exclude").write_text("new\n")
    assert commit(tmp_path) == expected


def test_the_commit_is_unknown_without_a_repository_of_its_own(tmp_path: Path) -> None:
    inside = tmp_path / "somebody" / "vendor" / "facebento"
    inside.mkdir(parents=True)
    (inside / "file").touch()
    assert commit(inside) == "unknown"
    # The commit of the project that this one was copied into says nothing about this one.
    commit_all(tmp_path / "somebody")
    assert commit(inside) == "unknown"


def test_the_commit_is_unknown_before_the_first_one_and_without_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "--quiet")
    assert commit(tmp_path) == "unknown"
    (tmp_path / "file").touch()
    commit_all(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit(tmp_path) == "unknown"


@pytest.mark.parametrize(
    ("text", "waivers"),
    [
        ("", set()),
        (" , ", set()),
        ("missing", {"missing"}),
        ("missing,altered", {"missing", "altered"}),
        (" unlicensed , missing,", {"unlicensed", "missing"}),
    ],
)
def test_what_is_allowed_is_a_list_with_commas(text: str, waivers: set[str]) -> None:
    assert BentoArguments.model_validate({"allow": text}).allow == waivers


@pytest.mark.parametrize(
    "wrong", [{"allow": "mising"}, {"allow": "missing altered"}, {"allow": "all"}, {"alow": "missing"}]
)
def test_an_argument_that_nobody_knows_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        BentoArguments.model_validate(wrong)


def test_nothing_is_allowed_and_no_model_named_by_default() -> None:
    assert BentoArguments().model_dump() == {"detector": None, "embedder": None, "allow": frozenset()}


def test_a_reference_tells_of_a_stored_model_what_bentoml_knows(free: StoredModel) -> None:
    info = Reference(free.tag).to_info("face")
    assert (str(info.tag), info.alias) == (free.tag, "face")
    assert info.creation_time == bentoml.models.get(free.tag).creation_time


def test_a_reference_names_a_model_that_is_not_stored_and_asks_nobody(
    detector: ModelDescription, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("bentoml.models.BentoModel._get_remote_model")
    info = Reference(detector.tag).to_info("face")
    assert (str(info.tag), info.alias) == (detector.tag, "face")
    # Always the same one, so that two bentos of one commit are the same.
    assert info.creation_time == dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def test_a_missing_model_names_its_waiver_only_to_who_builds() -> None:
    assert without_it(NOTHING) == ""
    for command, told in (("serve", ""), ("build", ". To build a bento without it: --arg allow=altered,missing")):
        with click.Context(click.Command(command), info_name=command).scope():
            assert without_it(frozenset({"altered"})) == told
