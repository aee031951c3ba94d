from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipelines import _artifacts as artifacts
from pipelines import _model, split, train
from tests.conftest import Workspace
from tests.pipelines import canonical

MODEL = Path("data/train/model.safetensors")
N_ITEMS = 40


def write_embeddings(n_items: int = N_ITEMS) -> None:
    vectors = np.random.default_rng(0).normal(size=(n_items, 12)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with artifacts.stage("embed") as stage:
        header = json.dumps({"encoder": "e" * 64})
        save_file({"embeddings": vectors}, stage.output("embeddings.safetensors"), metadata={"longtail": header})


def prepare(workspace: Workspace, of: list[canonical.Row]) -> None:
    workspace.params("train", {"embedding_dim": 4, "epochs": 3})
    canonical.write_ingest(canonical.interactions(of), canonical.catalogue(canonical.item_ids(N_ITEMS)))
    canonical.write_validate()
    workspace.params("split", {"strategy": "time"})
    split.main()
    write_embeddings()


@pytest.fixture
def prepared(workspace: Workspace) -> Workspace:
    prepare(workspace, canonical.rows(60, N_ITEMS))
    return workspace


def table(name: str) -> list[dict[str, str]]:
    with Path("data/train", name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_equal_inputs_give_equal_files(prepared: Workspace) -> None:
    train.main()
    first = MODEL.read_bytes()
    train.main()
    assert MODEL.read_bytes() == first


def test_a_pair_planted_in_the_test_period_changes_no_byte_of_the_model(workspace: Workspace) -> None:
    rows = canonical.rows(60, N_ITEMS)
    prepare(workspace, rows)
    train.main()
    before, tested = MODEL.read_bytes(), artifacts.sha256(Path("data/split/test.parquet"))
    free = next(f"i{i:03}" for i in range(N_ITEMS) if ("u000", f"i{i:03}") not in {row[:2] for row in rows})
    prepare(workspace, [*rows, ("u000", free, 1.0, canonical.day(19.5))])
    train.main()
    assert artifacts.sha256(Path("data/split/test.parquet")) != tested
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
    factors, provenance = _model.read(MODEL)
    assert factors.rerank is not None
    assert (factors.rerank.method, factors.rerank.strength) == (chosen["method"], float(chosen["strength"]))
    assert factors.rerank.method == "slots"
    assert factors.rerank.against[factors.rerank.is_tail].sum() > 0  # what these users are shown has its price
    assert provenance["encoder"] == "e" * 64
    assert provenance["params"]["embedding_dim"] == 4
    assert provenance["tail_sha256"] == json.loads(Path("data/split/holdout.json").read_text())["tail_sha256"]


def test_without_an_anchor_text_plays_no_part(prepared: Workspace) -> None:
    prepared.params("train", {"anchor": 0.0})
    train.main()
    assert _model.read(MODEL)[0].text_mean.size == 0


def test_more_dimensions_than_items_train_to_finite_factors(prepared: Workspace) -> None:
    prepared.params("train", {"embedding_dim": 64})
    train.main()
    assert np.isfinite(_model.read(MODEL)[0].item_factors).all()


def test_embeddings_of_other_items_are_refused(prepared: Workspace) -> None:
    write_embeddings(N_ITEMS - 1)
    with pytest.raises(ValueError, match="has 39 rows, but the split has 40 items; run `dvc repro embed`"):
        train.main()
    assert not MODEL.exists()


def test_a_model_file_of_another_kind_is_refused(workspace: Workspace) -> None:
    Path("x.safetensors").write_bytes(b"not a model")
    with pytest.raises(ValueError, match="is not a model file"):
        _model.read(Path("x.safetensors"))


def test_a_model_that_lacks_a_part_is_refused(workspace: Workspace) -> None:
    save_file({"item_factors": np.zeros((1, 1), np.float32)}, "x.safetensors")
    with pytest.raises(ValueError, match="no model of this version"):
        _model.read(Path("x.safetensors"))
