from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipelines.artifacts import model_file, outputs
from pipelines.settings.document import load
from pipelines.settings.train import Train
from pipelines.split import stage as split
from pipelines.train import fitting
from pipelines.train import stage as train
from tests.conftest import REPO, Workspace
from tests.pipelines import canonical

MODEL = Path("data/train/model.safetensors")
N_ITEMS = 40


def write_embeddings(n_items: int = N_ITEMS) -> None:
    vectors = np.random.default_rng(0).normal(size=(n_items, 12)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with outputs.stage("embed") as stage:
        header = json.dumps({"encoder": "e" * 64})
        save_file({"embeddings": vectors}, stage.output("embeddings.safetensors"), metadata={"longtail": header})


def prepare(workspace: Workspace, of: list[canonical.Row]) -> None:
    workspace.params("train", {"als.embedding_dim": 4, "als.epochs": 3})
    canonical.write_ingest(canonical.interactions(of), canonical.catalogue(canonical.item_ids(N_ITEMS)))
    canonical.write_validate()
    workspace.params("split", {"strategy": "time"})
    split.main()
    write_embeddings()


@pytest.fixture
def prepared(workspace: Workspace) -> Workspace:
    prepare(workspace, canonical.rows(60, N_ITEMS))
    return workspace


@pytest.mark.parametrize("name", ["als.py", "room/deep/als.py"])
def test_a_search_begins_anew_where_code_has_changed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("pipelines.workspace.git.state_folder", lambda: workspace.root / ".longtail")
    monkeypatch.setattr(fitting, "MODELS", workspace.root / "models")
    before = fitting.journal(load(Train), {})
    assert fitting.journal(load(Train), {}) == before
    path = workspace.root / "models" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("# another\n")
    assert fitting.journal(load(Train), {}) != before


def table(name: str) -> list[dict[str, str]]:
    with Path("data/train", name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_equal_inputs_give_equal_files(prepared: Workspace) -> None:
    train.main()
    first = MODEL.read_bytes()
    train.main()
    assert MODEL.read_bytes() == first


@pytest.mark.slow
def test_a_pair_planted_in_the_test_period_changes_no_byte_of_the_model(workspace: Workspace) -> None:
    rows = canonical.rows(60, N_ITEMS)
    prepare(workspace, rows)
    train.main()
    before, tested = MODEL.read_bytes(), outputs.sha256(Path("data/split/test.parquet"))
    free = next(f"i{i:03}" for i in range(N_ITEMS) if ("u000", f"i{i:03}") not in {row[:2] for row in rows})
    prepare(workspace, [*rows, ("u000", free, 1.0, canonical.day(19.5))])
    train.main()
    assert outputs.sha256(Path("data/split/test.parquet")) != tested
    assert MODEL.read_bytes() == before


def test_there_is_a_row_per_epoch_and_per_way_of_re_ranking(prepared: Workspace) -> None:
    prepared.params("train", {"rerank": {"max_ndcg_loss": 0.1, "popularity": [], "xquad": [1.0], "slots": [0.5, 2.0]}})
    train.main()
    epochs = table("training.csv")
    assert [int(row["epoch"]) for row in epochs] == [1, 2, 3]
    assert float(epochs[-1]["loss"]) < float(epochs[0]["loss"])
    rows = [(row["method"], float(row["strength"])) for row in table("pareto.csv")]
    assert rows == [("none", 0.0), ("xquad", 1.0), ("slots", 0.5), ("slots", 2.0)]


def test_the_model_serves_with_the_re_ranking_that_was_chosen(prepared: Workspace) -> None:
    prepared.params("train", {"rerank": {"max_ndcg_loss": 1.0, "popularity": [], "xquad": [], "slots": [50.0]}})
    train.main()
    (chosen,) = [row for row in table("pareto.csv") if row["chosen"] == "1"]
    factors, provenance = model_file.read(MODEL)
    assert factors.rerank is not None
    assert (factors.rerank.method, factors.rerank.strength) == (chosen["method"], float(chosen["strength"]))
    assert factors.rerank.method == "slots"
    assert factors.rerank.against[factors.rerank.is_tail].sum() > 0  # what these users are shown has its price
    assert provenance["encoder"] == "e" * 64
    assert provenance["params"]["als"]["embedding_dim"] == 4
    assert provenance["tail_sha256"] == json.loads(Path("data/split/holdout.json").read_text())["tail_sha256"]


def test_the_epoch_that_ranks_best_on_valid_is_kept_and_marked(prepared: Workspace) -> None:
    prepared.params("train", {"als.epochs": 5, "als.regularization": 0.01, "als.embedding_dim": 16})
    train.main()
    rows = table("training.csv")
    best = max(rows, key=lambda row: float(row["valid_ndcg"]))
    assert [row["chosen"] for row in rows] == [str(int(row is best)) for row in rows]
    kept, _ = model_file.read(MODEL)
    prepared.params("train", {"als.epochs": int(best["epoch"])})
    train.main()
    assert np.array_equal(model_file.read(MODEL)[0].item_factors, kept.item_factors)


def test_without_a_dimension_the_data_decide(prepared: Workspace) -> None:
    prepared.params("train", {"als.embedding_dim": None, "als.epochs": 1})
    train.main()
    factors, provenance = model_file.read(MODEL)
    assert provenance["params"]["als"]["embedding_dim"] == factors.item_factors.shape[1] == 64


def test_the_heights_tried_for_cold_items_are_written_with_the_chosen_one(workspace: Workspace) -> None:
    prepare(workspace, canonical.rows(60, N_ITEMS - 8))
    workspace.params("train", {"cold_max_ndcg_loss": 1.0})
    train.main()
    factors, _ = model_file.read(MODEL)
    assert factors.cold is not None
    assert [float(row["height"]) for row in table("cold_items.csv") if row["chosen"] == "1"] == [factors.cold.height]


def test_without_an_anchor_text_plays_no_part(prepared: Workspace) -> None:
    prepared.params("train", {"anchor": 0.0})
    train.main()
    assert model_file.read(MODEL)[0].text_mean.size == 0


def test_more_dimensions_than_items_train_to_finite_factors(prepared: Workspace) -> None:
    prepared.params("train", {"als.embedding_dim": 64})
    train.main()
    assert np.isfinite(model_file.read(MODEL)[0].item_factors).all()


def test_embeddings_of_other_items_are_refused(prepared: Workspace) -> None:
    write_embeddings(N_ITEMS - 1)
    with pytest.raises(ValueError, match="has 39 rows, but the split has 40 items; run `dvc repro embed`"):
        train.main()
    assert not MODEL.exists()


def test_a_model_file_of_another_kind_is_refused(workspace: Workspace) -> None:
    Path("x.safetensors").write_bytes(b"not a model")
    with pytest.raises(ValueError, match="is not a valid model file"):
        model_file.read(Path("x.safetensors"))


def test_a_model_that_lacks_a_part_is_refused(workspace: Workspace) -> None:
    save_file({"item_factors": np.zeros((1, 1), np.float32)}, "x.safetensors")
    with pytest.raises(ValueError, match="no model of this version"):
        model_file.read(Path("x.safetensors"))


@pytest.mark.parametrize("model", ["mf", "bpr", "two_tower", "light_gcn"])
def test_every_model_is_trained_and_written_as_the_same_kind_of_file(prepared: Workspace, model: str) -> None:
    prepared.params("train", {"model": model, f"{model}.embedding_dim": 4, f"{model}.epochs": 2})
    train.main()
    factors, provenance = model_file.read(MODEL)
    assert provenance["params"]["model"] == model
    assert len(table("training.csv")) == 2
    assert np.isfinite(factors.fold_in([np.array([0, 1]), np.array([2])]) @ factors.item_factors.T).all()


SEARCH = {
    "search.trials": 5,
    "search.space": {"regularization": [0.3, 300.0], "embedding_dim": [2, 8], "anchor": [0.0, 1.0]},
    "als.regularization": 300.0,
}


def test_a_search_trains_the_best_trial_and_never_does_worse_than_the_settings_it_starts_from(
    prepared: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared.params("train", {**SEARCH, "als.epochs": 4})
    train.main()
    trials = table("search.csv")
    assert [int(row["trial"]) for row in trials] == list(range(5))
    assert (trials[0]["regularization"], trials[0]["embedding_dim"]) == ("300.0", "4")
    best = max(trials, key=lambda row: float(row["objective"] or "-inf"))
    assert [row["chosen"] for row in trials] == [str(int(row is best)) for row in trials]
    used = model_file.read(MODEL)[1]["params"]
    assert used["als"]["regularization"] == float(best["regularization"])
    assert used["als"]["epochs"] == int(best["epochs"]) == len(table("training.csv"))
    assert float(table("training.csv")[-1]["valid_ndcg"]) == pytest.approx(float(best["valid_ndcg"]), abs=1e-6)
    assert "search: trial" in capsys.readouterr().out


@pytest.mark.slow
def test_a_larger_budget_goes_on_and_another_setting_starts_anew(prepared: Workspace) -> None:
    prepared.params("train", SEARCH)
    train.main()
    first = table("search.csv")
    prepared.params("train", {"search.trials": 6})
    train.main()
    assert table("search.csv")[:5] == [
        row | {"chosen": now["chosen"]} for row, now in zip(first, table("search.csv"), strict=False)
    ]
    prepared.params("train", {"seed": 43})
    train.main()
    assert len(list(Path(".longtail/searches").glob("*.jsonl"))) == 2


def test_a_tail_floor_ranks_every_setting_that_misses_it_below_one_that_reaches_it() -> None:
    params = load(Train, REPO / "params.yaml")
    floor = params.model_copy(update={"search": params.search.model_copy(update={"min_tail_ndcg": 0.1})})
    assert fitting.score(floor, 0.9, 0.09).objective < fitting.score(floor, 0.0, 0.1).objective
    assert fitting.score(floor, 0.9, 0.05).objective < fitting.score(floor, 0.1, 0.09).objective
    weighted = params.model_copy(update={"search": params.search.model_copy(update={"tail_weight": 2.0})})
    assert fitting.score(weighted, 0.3, 0.1).objective == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"world_size": 2}, r"world_size is 2 and search\.trials 3, expected one of them alone"),
        ({"world_size": 2, "model": "bpr"}, r"world_size is 2, expected 1 for model bpr"),
        ({"search.space": {"dropout": [0.0, 1.0]}}, r"search\.space has dropout, expected settings of als: .*anchor"),
        ({"search.space": {"regularization": [10.0, 20.0]}}, r"a range that includes the initial value 2\.5"),
        ({"search.space": {"regularization": [20.0, 1.0]}}, r"is \[20\.0, 1\.0\], expected the lower bound first"),
    ],
)
def test_a_search_space_that_cannot_be_searched_is_refused_before_anything_is_read(
    workspace: Workspace, change: dict[str, object], message: str
) -> None:
    workspace.params("train", {"search.trials": 3, **change})
    with pytest.raises(ValueError, match=message):
        train.main()


@pytest.mark.slow
def test_two_processes_train_the_model_that_one_does(prepared: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    train.main()
    alone, _ = model_file.read(MODEL)
    assert "received_bytes" not in table("training.csv")[0]
    prepared.params("train", {"world_size": 2})
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    train.main()
    shared, _ = model_file.read(MODEL)
    np.testing.assert_allclose(
        shared.item_factors @ shared.item_factors.T, alone.item_factors @ alone.item_factors.T, atol=1e-5
    )
    *_, before, last = table("training.csv")
    assert int(last["received_bytes"]) == int(before["received_bytes"]) > 0  # of an epoch, not of all so far
    assert float(last["exchange_seconds"]) >= 0
