"""Changes since the champion, as the report lists them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.artifacts import outputs
from pipelines.registry import changes, tags, version_files
from pipelines.registry.champion import champion_of
from pipelines.settings.champion import Champion
from pipelines.settings.document import load
from tests.conftest import edit_params
from tests.pipelines.releases import SIZES, SPLIT, Checkout

pytestmark = pytest.mark.slow  # Git and DVC for real


def since() -> dict[str, list[str]]:
    holdout: dict[str, Any] = outputs.read_json(Path("data/split/holdout.json"))
    found = changes.since(champion_of(tags.read(load(Champion)), "another model"), holdout)
    assert found is not None
    return found


@pytest.fixture
def promoted(checkout: Checkout) -> Checkout:
    checkout.candidate(1)
    checkout.promote()
    return checkout


def test_before_the_first_promotion_nothing_can_have_changed(checkout: Checkout) -> None:
    checkout.candidate(1)
    assert changes.since({"commit": None}, {}) is None


def test_nothing_changed_is_said_of_everything(promoted: Checkout) -> None:
    assert since() == {"data": [], "split": [], "settings": [], "code": []}


def test_settings_and_modules_are_named_with_what_they_were(promoted: Checkout) -> None:
    edit_params(Path("params.yaml"), "train", {"als.epochs": 9})
    rule = {"name": "r", "metric": "ndcg@10", "min": 0.1}
    edit_params(Path("params.yaml"), "gate", {"rules": [rule]})
    with Path("pipelines/gate/verdict.py").open("a") as file:
        file.write("\n# edited\n")
    Path("pipelines/gate/new.py").write_text("")
    found = since()
    assert "train.als.epochs: 6 → 9" in found["settings"]
    (line,) = [line for line in found["settings"] if line.startswith("gate.rules: beats popularity, accuracy held, ")]
    assert line.endswith(" → r")
    assert found["code"] == ["pipelines/gate/new.py", "pipelines/gate/verdict.py"]


def test_other_data_says_how_much_there_was_and_is_where_the_release_knows(promoted: Checkout) -> None:
    assert list(changes.data({"n_train": 88158, "n_users": 5}, {"n_train": 73012, "n_users": 5})) == [
        "88,158 → 73,012 train events"
    ]
    assert list(changes.data({"n_items": 3}, {"n_items": 3})) == ["other interactions or items"]
    assert list(changes.data({}, {"n_items": 3})) == ["other interactions or items"]
    version = tags.read(load(Champion)).version("v1.0.0")
    assert version_files.document(version.name, version.commit)["sizes"] == SIZES


def test_cutoffs_are_dates() -> None:
    before = {"cutoffs": ["2024-08-20T00:00:00+00:00", "2024-10-27T12:30:00+00:00"]}
    (line,) = changes.split(before, {"cutoffs": None})
    assert line == "cutoffs: 2024-08-20, 2024-10-27T12:30:00+00:00 → none"


def test_another_split_says_how_it_differs(promoted: Checkout) -> None:
    holdout = SPLIT | {"holdout_sha256": "i" * 64, "tail_sha256": "a" * 64}
    with outputs.stage("split") as stage:
        outputs.write_json(stage.output("holdout.json"), holdout | {"seed": 7})
    assert since()["split"] == ["seed: 42 → 7"]
    with outputs.stage("split") as stage:
        outputs.write_json(stage.output("holdout.json"), holdout)
    assert since()["split"] == ["other test pairs or tail items, drawn in the same way"]
