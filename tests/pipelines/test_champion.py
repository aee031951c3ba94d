from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from pipelines import _artifacts as artifacts
from pipelines import _release, champion
from tests.pipelines.releases import SPLIT, Checkout, git

pytestmark = pytest.mark.slow  # Git and DVC for real

FOLDER = Path("data/champion")


def written() -> dict[str, bytes]:
    champion.main()
    return {path.name: path.read_bytes() for path in FOLDER.iterdir()}


def test_before_the_first_promotion_there_is_none(checkout: Checkout) -> None:
    checkout.candidate(1)
    assert set(written()) == {"champion.json", "manifest.json"}
    assert artifacts.read_json(FOLDER / "champion.json") == champion.NONE


def test_the_serving_version_is_the_champion_of_another_candidate(checkout: Checkout) -> None:
    model = checkout.candidate(1)
    first = Path("data/train/model.safetensors").read_bytes()
    _release.promote()
    checkout.candidate(2)
    files = written()
    assert files["model.safetensors"] == first
    assert files["items.parquet"] == Path("data/split/items.parquet").read_bytes()
    assert artifacts.read_json(FOLDER / "champion.json") == {
        "version": "v1.0.0",
        "commit": git(checkout.root, "rev-parse", "longtail@v1.0.0^{commit}"),
        "model_sha256": model,
        "items_sha256": artifacts.sha256(Path("data/split/items.parquet")),
        "tail_sha256": "a" * 64,
        "holdout_sha256": "b" * 64,
        "split": SPLIT,
    }


@pytest.mark.parametrize("predecessors", [0, 1])
def test_promoting_the_candidate_does_not_change_a_byte(checkout: Checkout, predecessors: int) -> None:
    for seed in range(predecessors):
        checkout.candidate(seed)
        _release.promote()
    checkout.candidate(9)
    before = written()
    _release.promote()
    assert written() == before


def test_after_a_rollback_the_older_version_is_the_champion(checkout: Checkout) -> None:
    for seed in (1, 2, 3):
        checkout.candidate(seed)
        _release.promote()
    _release.rollback("v1.0.0")
    written()
    assert artifacts.read_json(FOLDER / "champion.json")["version"] == "v1.0.0"


def test_a_champion_whose_data_is_nowhere_is_an_error_that_names_it(checkout: Checkout) -> None:
    checkout.candidate(1)
    _release.promote()
    checkout.candidate(2)
    shutil.rmtree(".dvc/cache")
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors of v1\.0\.0 is neither in the DVC cache nor"):
        champion.main()
    assert not FOLDER.with_name(".champion.partial").exists()


def test_the_second_run_does_not_need_dvc(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout.candidate(1)
    _release.promote()
    checkout.candidate(2)
    before = written()
    shutil.rmtree(".dvc/cache")
    monkeypatch.setitem(sys.modules, "dvc.api", None)  # importing it fails from here on
    assert written() == before


def test_a_kept_file_that_was_damaged_is_fetched_again(checkout: Checkout) -> None:
    checkout.candidate(1)
    _release.promote()
    checkout.candidate(2)
    before = written()
    Path(".longtail/releases/v1.0.0/model.safetensors").write_bytes(b"damaged")
    assert written() == before
