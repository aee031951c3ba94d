from __future__ import annotations

from typing import Any

import pytest
from ruamel.yaml import YAML

from pipelines.orchestration import form as orchestration_form
from tests.conftest import REPO

PARAMS = (REPO / "params.yaml").read_text("utf-8")


def read(text: str) -> Any:
    return YAML(typ="safe").load(text)


def test_an_empty_form_changes_nothing() -> None:
    assert orchestration_form.overrides({}) == {}
    assert read(orchestration_form.applied(PARAMS, {})) == read(PARAMS)


def test_the_five_fields_become_keys() -> None:
    form = {"source": "movielens", "tail_share": 0.3, "gate": "strict", "promotion": "never", "note": "why"}
    changes = orchestration_form.overrides(form)
    assert changes["ingest.source"] == "movielens"
    assert changes["split.head"] == 0.7
    assert changes["gate.confidence"] == 0.99


def test_the_more_special_wins() -> None:
    changes = orchestration_form.overrides(
        {"source": "tiny demo", "train.als.epochs": 9, "overrides": {"train": {"als": {"epochs": 8}}}}
    )
    assert changes["train.als.epochs"] == 8
    assert changes["ingest.demo.users"] == 500


def test_a_path_takes_the_place_of_an_address() -> None:
    assert orchestration_form.overrides({"ingest.path": "data/raw"}) == {"ingest.path": "data/raw", "ingest.url": None}


def test_null_leaves_what_is_configured() -> None:
    assert orchestration_form.overrides({"train.seed": None, "tail_share": None, "overrides": None}) == {}
    empty = {"ingest.path": "", "ingest.table.items": [], "ingest.until": "", "note": "", "revision": ""}
    assert orchestration_form.overrides(empty) == {}  # a field that was filled and emptied again


def test_zero_and_false_are_values() -> None:
    assert orchestration_form.overrides({"train.seed": 0, "train.search.trials": 0}) == {
        "train.seed": 0, "train.search.trials": 0
    }  # fmt: skip


def test_comments_and_long_lines_stay() -> None:
    changed = orchestration_form.applied(PARAMS, {"train.als.epochs": 9})
    assert changed.count("#") == PARAMS.count("#")
    assert read(changed)["train"]["als"]["epochs"] == 9


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"epochs": 3}, "unknown field epochs"),
        ({"source": "oracle"}, "source is 'oracle', expected one of"),
        ({"tail_share": 1.5}, "tail_share is 1.5, expected"),
        ({"tail_share": "a"}, "tail_share is 'a', expected"),
    ],
)
def test_a_wrong_field_is_named(form: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        orchestration_form.overrides(form)


@pytest.mark.parametrize("key", ["train.als.epoch", "nothing.at.all", "train.als.epochs.deeper", "gate"])
def test_a_key_that_is_not_there_is_named(key: str) -> None:
    if key == "gate":
        assert orchestration_form.applied(PARAMS, {key: read(PARAMS)["gate"]})
        return
    with pytest.raises(ValueError, match=f"no key {key}"):
        orchestration_form.applied(PARAMS, {key: 1})
