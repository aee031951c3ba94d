from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gto.api import deregister
from ruamel.yaml import YAML

from pipelines.artifacts import outputs
from pipelines.champion import stage as champion
from pipelines.registry.champion import NONE
from pipelines.release import release as releasing
from tests import made
from tests.conftest import edit_params
from tests.pipelines.releases import SIZES, SPLIT, Checkout, git, package, record

pytestmark = pytest.mark.slow  # Git and DVC for real

FOLDER = Path("data/champion")


def written() -> dict[str, bytes]:
    champion.main()
    return {path.name: path.read_bytes() for path in FOLDER.iterdir()}


def test_before_the_first_promotion_there_is_none(checkout: Checkout) -> None:
    checkout.candidate(1)
    assert set(written()) == {"champion.json", "manifest.json"}
    assert outputs.read_json(FOLDER / "champion.json") == NONE


def test_the_serving_version_is_the_champion_of_another_candidate(checkout: Checkout) -> None:
    model = checkout.candidate(1)
    first = Path("data/train/model.safetensors").read_bytes()
    releasing.promote()
    checkout.candidate(2)
    files = written()
    assert files["model.safetensors"] == first
    assert files["items.parquet"] == Path("data/split/items.parquet").read_bytes()
    identity = outputs.read_json(FOLDER / "champion.json")
    assert {key: identity[key] for key in identity.keys() - {"best", "absent", "released", "seen"}} == {
        "version": "v1.0.0",
        "commit": git(checkout.root, "rev-parse", "longtail@v1.0.0^{commit}"),
        "model_sha256": model,
        "items_sha256": outputs.sha256(Path("data/split/items.parquet")),
        "tail_sha256": "a" * 64,
        "holdout_sha256": "b" * 64,
        "split": SPLIT,
        "sizes": SIZES,
        "source": "table",
    }
    assert identity["absent"] == {}
    assert identity["released"] is None
    assert set(identity["best"]) == {"ndcg@10", "tail_recall@20", "tail_coverage@10"}
    for release in identity["best"].values():  # one release is the best one, and known by all that a champion is
        assert release == {key: identity[key] for key in identity.keys() - {"best", "absent", "released", "seen"}} | {
            "since": "v1.0.0"
        }


@pytest.mark.parametrize("predecessors", [0, 1])
def test_promoting_the_candidate_does_not_change_a_byte(checkout: Checkout, predecessors: int) -> None:
    for seed in range(predecessors):
        checkout.candidate(seed)
        checkout.promote()
    checkout.candidate(9)
    before = written()
    releasing.promote()
    assert written() == before


def test_after_a_rollback_the_older_version_is_the_champion(checkout: Checkout) -> None:
    for seed in (1, 2, 3):
        checkout.candidate(seed)
        checkout.promote()
    releasing.rollback("v1.0.0")
    written()
    assert outputs.read_json(FOLDER / "champion.json")["version"] == "v1.0.0"


def test_a_champion_whose_data_is_nowhere_is_an_error_that_names_it(checkout: Checkout) -> None:
    checkout.candidate(1)
    checkout.promote()
    checkout.candidate(2)
    shutil.rmtree(".dvc/cache")
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors of v1\.0\.0 is neither in the DVC cache nor"):
        champion.main()
    assert not FOLDER.with_name(".champion.partial").exists()


def test_the_second_run_does_not_need_dvc(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout.candidate(1)
    checkout.promote()
    checkout.candidate(2)
    before = written()
    shutil.rmtree(".dvc/cache")
    monkeypatch.setitem(sys.modules, "dvc.api", None)  # importing it fails from here on
    assert written() == before


def test_a_kept_file_that_was_damaged_is_fetched_again(checkout: Checkout) -> None:
    checkout.candidate(1)
    checkout.promote()
    checkout.candidate(2)
    before = written()
    Path(".longtail/releases/v1.0.0/model.safetensors").write_bytes(b"damaged")
    assert written() == before


def best(figure: str = "ndcg@10") -> dict[str, Any]:
    champion.main()
    found: dict[str, Any] = outputs.read_json(FOLDER / "champion.json")["best"][figure]
    return found


def test_the_best_release_is_the_one_that_the_next_ones_lost_most_against(checkout: Checkout) -> None:
    for seed, ndcg in enumerate((0.38, 0.4, 0.39, 0.385), start=1):
        checkout.candidate(seed, ndcg=ndcg)
        checkout.promote()
    checkout.candidate(9)
    found = best()
    assert (found["version"], found["since"]) == ("v2.0.0", "v1.0.0")
    assert found["commit"] == git(checkout.root, "rev-parse", "longtail@v2.0.0^{commit}")
    assert outputs.sha256(FOLDER / "v2.0.0-model.safetensors") == found["model_sha256"]
    assert outputs.sha256(FOLDER / "v2.0.0-items.parquet") == found["items_sha256"]
    assert best("tail_recall@20")["version"] == "v4.0.0"  # of equal ones the newest, which is the champion
    assert {path.name for path in FOLDER.iterdir() if path.name[0] == "v"} == {
        "v2.0.0-items.parquet",
        "v2.0.0-model.safetensors",
    }


def test_the_best_release_is_none_that_was_rolled_back(checkout: Checkout) -> None:
    for seed, ndcg in enumerate((0.39, 0.385, 0.41), start=1):
        checkout.candidate(seed, ndcg=ndcg)
        checkout.promote()
    releasing.rollback()
    checkout.candidate(4, ndcg=0.38)
    assert best()["version"] == "v1.0.0"
    releasing.promote()
    checkout.candidate(5)
    assert best()["version"] == "v1.0.0"


def test_a_rolled_back_release_still_links_those_around_it(checkout: Checkout) -> None:
    """v3 serves again after both it and v2 gave way to v1: v2 is no candidate, but tells how v1 compares."""
    for seed, ndcg in enumerate((0.39, 0.41, 0.4), start=1):
        checkout.candidate(seed, ndcg=ndcg)
        checkout.promote()
    for version in ("v2.0.0", "v1.0.0", "v3.0.0"):
        releasing.rollback(version)
    checkout.candidate(4, ndcg=0.39)
    found = best()
    assert (found["version"], found["since"]) == ("v3.0.0", "v1.0.0")


def test_the_baseline_leaves_out_what_came_before_it(checkout: Checkout) -> None:
    for seed, ndcg in enumerate((0.4, 0.395, 0.39), start=1):
        checkout.candidate(seed, ndcg=ndcg)
        checkout.promote()
    edit_params(Path("params.yaml"), "champion", {"baseline": "v2.0.0"})
    checkout.candidate(4, ndcg=0.39)
    found = best()
    assert (found["version"], found["since"]) == ("v2.0.0", "v2.0.0")
    edit_params(Path("params.yaml"), "champion", {"baseline": "v9.0.0"})
    with pytest.raises(ValueError, match=r"'v9\.0\.0' is not registered; registered: v1\.0\.0, v2\.0\.0, v3\.0\.0"):
        champion.main()


def test_a_release_that_was_not_compared_begins_a_new_chain(checkout: Checkout) -> None:
    """v3 was judged by rules that name no champion."""
    for seed, ndcg in enumerate((0.41, 0.4), start=1):
        checkout.candidate(seed, ndcg=ndcg)
        checkout.promote()
    rules = YAML(typ="safe").load(Path("params.yaml").read_text())["gate"]["rules"]
    alone = [rule for rule in rules if rule["reference"] not in ("champion", "best")]
    edit_params(Path("params.yaml"), "gate", {"rules": alone})
    checkout.candidate(3, ndcg=0.3)
    checkout.promote()
    edit_params(Path("params.yaml"), "gate", {"rules": rules})
    checkout.candidate(4, ndcg=0.3)
    found = best()
    assert (found["version"], found["since"]) == ("v3.0.0", "v3.0.0")


def test_releases_of_old_which_know_of_no_best_are_compared_all_the_same(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their verdicts have neither rules against the best release nor `best` of the champion."""
    rules = YAML(typ="safe").load(Path("params.yaml").read_text())["gate"]["rules"]
    edit_params(Path("params.yaml"), "gate", {"rules": [rule for rule in rules if rule["reference"] != "best"]})
    for seed, ndcg in enumerate((0.4, 0.39), start=1):
        checkout.candidate(seed, ndcg=ndcg)
        rewrite(Path("data/gate/verdict.json"), lambda verdict: verdict | {"champion": of_old(verdict["champion"])})
        package(seed, built=True)
        record()
        with monkeypatch.context() as then:
            then.setattr(releasing, "compare", lambda *given: None)  # the code of old compared no best releases
            releasing.promote()
    edit_params(Path("params.yaml"), "gate", {"rules": rules})
    checkout.candidate(3, ndcg=0.395)
    assert best()["version"] == "v1.0.0"
    assert releasing.promote().version == "v3.0.0"
    assert releasing.rollback().version == "v2.0.0"
    checkout.candidate(2, ndcg=0.39)  # serves already: compared with v1, as it was then
    assert best()["version"] == outputs.read_json(FOLDER / "champion.json")["version"] == "v1.0.0"
    assert not releasing.promote().changed


def rewrite(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change a stage's JSON file as if the stage had written it so."""
    outputs.write_json(path, change(outputs.read_json(path)))
    made.rewrite_manifest(path.parent)


def of_old(identity: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in identity.items() if key not in ("best", "absent")}


def test_a_best_release_whose_data_is_nowhere_is_said_and_the_stage_goes_on(
    checkout: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, ndcg in enumerate((0.4, 0.39), start=1):
        checkout.candidate(seed, ndcg=ndcg)
        checkout.promote()
    checkout.candidate(3, ndcg=0.39)
    before = written()
    for path in Path(".dvc/cache").rglob("*"):
        if path.is_file() and path.read_bytes() == before["v1.0.0-model.safetensors"]:
            path.unlink()
    shutil.rmtree(".longtail/releases/v1.0.0")
    after = written()
    assert "v1.0.0-model.safetensors" not in after
    assert after["model.safetensors"] == before["model.safetensors"]
    (why,) = outputs.read_json(FOLDER / "champion.json")["absent"].values()
    assert why.startswith("data/train/model.safetensors of v1.0.0 is neither in the DVC cache nor in a remote")
    assert why in capsys.readouterr().out


def test_a_deregistered_release_is_no_candidate_and_hides_nothing(checkout: Checkout) -> None:
    for seed, ndcg in enumerate((0.41, 0.405, 0.4), start=1):
        checkout.candidate(seed, ndcg=ndcg)
        checkout.promote()
    deregister(".", "longtail", version="v2.0.0", author="Someone", author_email="someone@example.org")
    checkout.candidate(4, ndcg=0.4)
    found = best()
    assert (found["version"], found["since"]) == ("v1.0.0", "v1.0.0")


def test_the_chain_begins_after_a_deregistered_release_that_this_clone_does_not_have(checkout: Checkout) -> None:
    for seed, ndcg in enumerate((0.41, 0.405, 0.4), start=1):
        checkout.candidate(seed, ndcg=ndcg)
        checkout.promote()
    git(checkout.root, "tag", "--delete", "longtail@v2.0.0", "longtail#prod#2")
    git(checkout.root, "update-ref", "-d", "refs/longtail/releases/v2.0.0")
    git(checkout.root, "reflog", "expire", "--expire=now", "--all")
    git(checkout.root, "gc", "--quiet", "--prune=now")
    checkout.candidate(4, ndcg=0.4)
    found = best()
    assert (found["version"], found["since"]) == ("v3.0.0", "v3.0.0")


def test_one_model_that_was_released_twice_is_evaluated_once(checkout: Checkout) -> None:
    for seed, ndcg in ((1, 0.4), (2, 0.39), (1, 0.39)):
        checkout.candidate(seed, ndcg=ndcg)
        checkout.promote()
    checkout.candidate(3)
    assert best()["version"] == "v1.0.0"  # by its comparisons, but the champion has its model
    assert not [path for path in FOLDER.iterdir() if path.name.startswith("v")]
