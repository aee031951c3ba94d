"""The evaluate stage on a small holdout made by hand."""

from __future__ import annotations

import csv
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from models.evaluation import measure
from models.evaluation.metric import Catalogue
from models.inference.candidates import of_scores
from models.inference.reranking import Rerank, rerank
from pipelines.artifacts import model_file, outputs, per_user, tables
from pipelines.evaluate import slices
from pipelines.evaluate import stage as evaluate
from tests.conftest import Workspace
from tests.pipelines import holdouts
from tests.pipelines.holdouts import COLD, GENRE, HEAD, N_ITEMS, N_USERS, model

OUT = Path("data/evaluate")


def run() -> dict[str, Any]:
    evaluate.main()
    metrics: dict[str, Any] = outputs.read_json(OUT / "metrics.json")
    return metrics


def lists(name: str) -> list[list[int]]:
    table = tables.read(OUT / "per_user.parquet")
    chosen: Any = table.filter(pc.equal(table["model"], pa.scalar(name)))["items"].to_pylist()
    return list(chosen)


def columns(name: str) -> dict[str, list[str]]:
    with (OUT / name).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {key: [row[key] for row in rows] for key in rows[0]}


def test_a_model_that_knows_the_genre_beats_both_references(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    metrics = run()
    values = metrics["models"]
    assert metrics["n_users"] == N_USERS
    assert {key: metrics[key] for key in holdouts.HASHES} == holdouts.HASHES
    assert list(values) == ["candidate", "content", "popularity", "random"]
    assert values["candidate"]["tail_recall@20"] > 2 * values["popularity"]["tail_recall@20"]
    assert values["candidate"]["ndcg@10"] > values["random"]["ndcg@10"]


def test_lists_hold_neither_train_nor_valid_items_and_no_item_twice(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1), model(knowledge=0))
    run()
    parts = holdouts.pairs()
    for name in ("candidate", "champion", "popularity", "random", "content"):
        for user, shown in enumerate(lists(name)):
            seen = {item for u, item in parts.train + parts.valid if u == user}
            assert len(shown) == len(set(shown)) == 20
            assert not seen & set(shown)


@pytest.mark.parametrize(("method", "strength"), [("popularity", 1.0), ("xquad", 2.0), ("slots", 0.7)])
def test_lists_are_what_a_server_would_answer_to_each_user_alone(
    workspace: Workspace, method: str, strength: float
) -> None:
    against = np.random.default_rng(0).random(N_ITEMS, np.float32)
    how = Rerank(method, strength, np.arange(N_ITEMS) >= HEAD, against)
    factors = replace(model(knowledge=0.1), rerank=how)
    holdouts.write_all(factors, factors)
    run()
    parts = holdouts.pairs()
    plain = 0
    for user, (shown, shown_by_champion) in enumerate(zip(lists("candidate"), lists("champion"), strict=True)):
        history = np.array([item for u, item in parts.train if u == user])
        scores = (factors.queries(factors.fold_in([history])) @ factors.item_vectors().T)[0]
        scores[[item for u, item in parts.train + parts.valid if u == user]] = -np.inf
        served = rerank(how, of_scores(scores, how.is_tail, k=20), how.tail_share(history), k=20)[0].tolist()
        assert shown == shown_by_champion == served
        plain += served == np.argsort(-scores, kind="stable")[:20].tolist()
    assert plain < N_USERS / 2  # re-ranking does change them


def test_undefined_metrics_of_a_user_are_null_and_lists_are_ranked_for_test_users_only(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    parts = holdouts.pairs()
    parts.test = [(u, i) for u, i in parts.test if u < 10 and (u != 3 or i < HEAD)]  # user 3 wants head items only
    holdouts.write_split(parts)
    assert run()["n_users"] == 10
    table = tables.read(OUT / "per_user.parquet")
    assert table["user_idx"].to_pylist() == list(range(10)) * 4
    assert table["tail_recall@10"].is_null().to_pylist() == [user == 3 for user in range(10)] * 4
    assert table["ndcg@10"].null_count == 0


def test_cold_items_are_ranked_among_themselves_as_well(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    values = run()["models"]["popularity"]  # ranks cold items below all others, by item among themselves
    assert values["cold_recall@10"] == 0.0
    assert values["cold_recall_among_cold@10"] == 1.0


def test_a_champion_is_judged_through_its_own_items_and_anchors_the_new_ones(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    holdouts.write_champion(model(knowledge=1), n_items=N_ITEMS - COLD)
    run()
    wanted = N_ITEMS - COLD + np.arange(N_USERS) % 2  # the cold item in each user's test set
    found = [cold in shown for cold, shown in zip(wanted.tolist(), lists("champion"), strict=True)]
    assert np.mean(found) > 0.9  # the anchor knows the genre


def test_a_champion_of_another_encoder_never_recommends_items_it_does_not_know(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    holdouts.write_champion(model(knowledge=1), n_items=N_ITEMS - COLD)
    holdouts.write_embeddings(encoder="f" * 64)
    run()
    assert max(item for shown in lists("champion") for item in shown) < N_ITEMS - COLD


def test_a_champion_shows_what_is_popular_to_users_of_whose_history_it_knows_nothing(workspace: Workspace) -> None:
    popularity = np.linspace(0.2, 1, N_ITEMS, dtype=np.float32)[np.random.default_rng(0).permutation(N_ITEMS)]
    holdouts.write_all(model(knowledge=1))
    holdouts.write_champion(replace(model(knowledge=1), popularity_bias=popularity), n_items=2)
    run()
    parts, n_strangers = holdouts.pairs(), 0
    for user, shown in enumerate(lists("champion")):
        seen = {item for u, item in parts.train + parts.valid if u == user}
        if not {item for u, item in parts.train if u == user and item < 2}:
            unseen = [item for item in range(2) if item not in seen]
            n_strangers += 1
            assert shown[: len(unseen)] == sorted(unseen, key=lambda item: -popularity[item])
    assert n_strangers > 0


def test_a_champion_of_other_items_than_its_model_is_refused(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1), model(knowledge=1))
    factors = model(knowledge=1)
    cut = replace(factors, item_factors=factors.item_factors[:5], popularity_bias=factors.popularity_bias[:5])
    with outputs.stage("champion") as stage:
        outputs.write_json(stage.output("champion.json"), {"version": "v1.0.0", "split": holdouts.SPLIT})
        model_file.write(cut, stage.output("model.safetensors"), provenance={"encoder": holdouts.ENCODER})
        tables.write(pa.table({"item_id": [f"i{i:03}" for i in range(6)]}), stage.output("items.parquet"))
    with pytest.raises(ValueError, match="data/champion has 6 items and a model of 5"):
        evaluate.main()


@pytest.mark.parametrize("name", ["model.safetensors", "items.parquet"])
def test_a_champion_whose_files_were_swapped_is_refused(workspace: Workspace, name: str) -> None:
    """Also where the manifest was made to match."""
    holdouts.write_all(model(knowledge=0.1), model(knowledge=1))
    folder = Path("data/champion")
    identity = outputs.read_json(folder / "champion.json")
    identity["items_sha256"] = outputs.sha256(folder / "items.parquet")
    outputs.write_json(folder / "champion.json", identity)
    other = {"model.safetensors": "data/train/model.safetensors", "items.parquet": "data/split/items.parquet"}[name]
    shutil.copy(other, folder / name)
    (folder / outputs.MANIFEST).unlink()
    outputs.write_manifest(folder, stage="champion", inputs={})
    with pytest.raises(ValueError, match=rf"data/champion/{name} is not that of v1\.0\.0: its sha256 is .*; run `dvc"):
        run()


def test_the_same_model_as_champion_has_exactly_the_same_figures(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1), model(knowledge=1))
    values = run()["models"]
    assert values["candidate"] == values["champion"]


def test_equal_inputs_give_equal_files(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1), model(knowledge=0))
    run()
    first = outputs.read_manifest(OUT)
    workspace.params("evaluate", {"batch_users": 7})
    run()
    second = outputs.read_manifest(OUT)
    assert second.pop("settings") != first.pop("settings")
    assert second == first


def test_plots_have_rows_of_the_models_that_were_evaluated_and_no_other(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    run()
    deciles, exposure, tradeoff = (columns(f"{name}.csv") for name in ("deciles", "exposure", "tradeoff"))
    assert tradeoff["model"] == ["candidate", "popularity", "random", "content"]
    for table in (deciles, exposure):
        assert list(dict.fromkeys(table["model"])) == tradeoff["model"]
        assert "" not in {cell for column in table.values() for cell in column}  # which a plot would draw as 0
    of_candidate = slice(0, exposure["model"].count("candidate"))
    curve = [float(value) for value in exposure["share_of_lists"][of_candidate]]
    assert (curve[0], curve[-1]) == (0.0, 1.0)
    assert curve == sorted(curve)


@pytest.mark.slow
def test_every_table_is_cut_at_the_first_k(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1), model(knowledge=0.3))
    workspace.params("evaluate", {"k": [5, 20]})
    values = run()["models"]
    deciles, tradeoff = columns("deciles.csv"), columns("tradeoff.csv")
    assert set(deciles["k"]) == set(columns("exposure.csv")["k"]) == set(tradeoff["k"]) == {"5"}
    assert [float(cell) for cell in tradeoff["ndcg"]] == [values[name]["ndcg@5"] for name in tradeoff["model"]]
    assert {"ndcg@5", "recall@5"} < set(columns("slices.csv"))
    items = tables.read(Path("data/split/items.parquet"))
    catalogue = Catalogue(
        items["popularity"].to_numpy(), items["is_tail"].to_numpy(), items["is_cold"].to_numpy(), N_USERS
    )
    decile_of = measure.deciles(catalogue)
    shown = {name: [set(top[:5]) for top in lists(name)] for name in set(deciles["model"])}
    for name, decile, recall in zip(deciles["model"], deciles["decile"], deciles["recall"], strict=True):
        found = [item in shown[name][user] for user, item in holdouts.pairs().test if decile_of[item] == int(decile)]
        assert float(recall) == pytest.approx(np.mean(found))


def test_metrics_that_need_histories_or_texts_are_there(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    values = run()["models"]
    assert values["popularity"]["popularity_lift@10"] > values["candidate"]["popularity_lift@10"]
    # texts are genres, which the candidate knows
    assert values["candidate"]["diversity@10"] < values["random"]["diversity@10"]
    for name in ("poprsp@10", "popreo@10"):
        assert values["random"][name] < 0.2 < values["popularity"][name] <= 1


def test_what_is_saved_per_user_is_what_was_evaluated(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1), model(knowledge=0.3))
    values = run()["models"]
    evaluations, slices = per_user.read(OUT / "per_user.parquet", n_items=holdouts.N_ITEMS)
    assert set(evaluations) == set(values)
    items = tables.read(Path("data/split/items.parquet"))
    catalogue = Catalogue(
        items["popularity"].to_numpy(), items["is_tail"].to_numpy(), items["is_cold"].to_numpy(), N_USERS
    )
    for name, evaluation in evaluations.items():
        assert measure.summary(evaluation, catalogue, ks=[10, 20]) == pytest.approx(values[name])
    groups = [chosen for name, chosen in slices.items() if name.startswith("group=")]
    assert sum(chosen.sum() for chosen in groups) == N_USERS
    assert list(slices) == ["group=diverse", "history=10-19"]  # every history has 5 head and 6 tail items


def test_slices_of_users_and_items_are_told_with_what_they_rest_on(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    workspace.params("evaluate", {"slices": {"users": ["country"], "items": ["genre"], "small": 200}})
    metrics = run()["models"]
    table = columns("slices.csv")
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    mine = {(row["slicing"], row["slice"]): row for row in rows if row["model"] == "candidate"}
    assert [key for key in mine if key[0] == "country"] == [("country", "DE"), ("country", "FR")]
    assert mine["country", "DE"]["n"] == mine["country", "FR"]["n"] == "192"  # a fifth do not say
    assert mine["country", "DE"]["small"] == "True"
    assert mine["group", "diverse"]["small"] == mine["group", "diverse"]["small_tail"] == "False"
    assert mine["country", "DE"]["n_tail_users"] == "192"  # every user has a tail item in test
    assert mine["part", "cold"]["n_tail_users"] == ""  # users of items are none
    assert float(mine["group", "diverse"]["ndcg@10"]) == pytest.approx(metrics["candidate"]["ndcg@10"])
    assert mine["part", "cold"]["n"] == "4"
    assert mine["part", "cold"]["n_events"] == str(N_USERS)
    assert float(mine["part", "head"]["exposure@10"]) + float(mine["part", "tail"]["exposure@10"]) <= 1
    assert {key[1] for key in mine if key[0] == "genre"} == {"0", "1"}
    assert len([key for key in mine if key[0] == "decile"]) == 10
    deciles = [float(mine["decile", f"{n:02}"]["recall@10"] or "nan") for n in range(1, 11)]
    plotted = columns("deciles.csv")
    has_events = {int(n) for n, name in zip(plotted["decile"], plotted["model"], strict=True) if name == "candidate"}
    assert {n for n, value in enumerate(deciles, start=1) if not np.isnan(value)} == has_events


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        ({"users": ["contry"]}, r"evaluate.slices.users: there is no column 'contry'; .*users.parquet has .*country"),
        ({"items": ["genres"]}, r"evaluate.slices.items: there is no column 'genres'; .* genre"),
        ({"small": 0}, "evaluate.slices.small is 0"),
    ],
)
def test_a_slice_that_cannot_be_is_an_error(workspace: Workspace, slices: dict[str, Any], message: str) -> None:
    holdouts.write_all(model(knowledge=1))
    workspace.params("evaluate", {f"slices.{name}": value for name, value in slices.items()})
    with pytest.raises(ValueError, match=message):
        evaluate.main()


def test_a_column_of_very_many_values_is_no_category(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "MAX_VALUES", 2)
    table = pa.table(
        {"many": ["a", "b", "c"], "few": ["a", None, "b"], "stars": [1.5, math.nan, 2.0], "lists": [["a"], [], None]}
    )

    def categories(name: str) -> list[str]:
        return list(slices.categories(table, name, "items", apart_from={"part": np.array([])}))

    assert categories("few") == ["a", "", "b"]
    assert categories("stars") == ["1.5", "", "2.0"]
    with pytest.raises(ValueError, match="'many' has 3 values, expected at most 2; set another column"):
        categories("many")
    with pytest.raises(ValueError, match=r"'lists' is list<.*>, expected categories"):
        categories("lists")
    with pytest.raises(ValueError, match="'part' is the name of a built-in slicing; rename the column"):
        categories("part")


def test_without_test_users_the_error_says_what_to_change(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    parts = holdouts.pairs()
    parts.test = []
    holdouts.write_split(parts)
    with pytest.raises(ValueError, match=r"no users to evaluate on; raise split.test, or set split.strategy: hash"):
        evaluate.main()
    assert not OUT.exists()


def test_a_model_of_another_catalogue_is_refused(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    whole = model(knowledge=1)
    holdouts.write_candidate(replace(whole, item_factors=whole.item_factors[:-1]))
    with pytest.raises(ValueError, match=f"has {N_ITEMS - 1} items, data/split/items.parquet has {N_ITEMS}"):
        evaluate.main()


def test_a_flipped_byte_in_the_model_is_found(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    path = Path("data/train/model.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model.safetensors is corrupted"):
        evaluate.main()


def test_a_model_that_diverged_is_refused(workspace: Workspace) -> None:
    broken = model(knowledge=1)
    broken.item_factors[20] = np.nan
    holdouts.write_all(broken)
    with pytest.raises(ValueError, match="training diverged"):
        evaluate.main()


def test_genres_alternate_so_that_every_user_has_items_to_find() -> None:
    assert {GENRE[item] == user % 2 for user, item in holdouts.pairs().test if item >= HEAD} == {True}


@pytest.mark.parametrize(
    ("split", "why"),
    [
        (holdouts.SPLIT | {"seed": 7}, "v1.0.0 has seen pairs of this holdout: its pairs were drawn with seed 7"),
        (holdouts.SPLIT | {"test": 0.05}, "its holdout was the first 0.05 of all pairs by hash"),
        (
            {"strategy": "time", "cutoffs": ["2024-01-01T00:00:00+00:00"] * 2, "seed": 0, "test": 0.1},
            "it was trained on a split by time, and this holdout is drawn by hash",
        ),
        (holdouts.SPLIT | {"user_space": "1a2b3c4d"}, "its pairs were drawn by pseudonyms of users (key 1a2b3c4d)"),
        (None, "the release of v1.0.0 does not say how its data was split"),
    ],
)
def test_a_champion_that_has_seen_pairs_of_the_holdout_is_not_evaluated(
    workspace: Workspace, split: dict[str, Any] | None, why: str
) -> None:
    holdouts.write_all(model(knowledge=1))
    holdouts.write_champion(model(knowledge=1), split=split)
    metrics = run()
    assert why in metrics["unfair_champion"]
    assert "champion" not in metrics["models"]
    assert "champion" not in columns("deciles.csv")["model"]


def test_a_champion_of_the_same_split_is_evaluated(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1), model(knowledge=0.9))
    metrics = run()
    assert metrics["unfair_champion"] is None
    assert "champion" in metrics["models"]


def test_an_early_release_counts_as_one_that_took_ids_of_users_and_withheld_no_item(workspace: Workspace) -> None:
    early = {name: holdouts.SPLIT[name] for name in ("strategy", "cutoffs", "seed", "test")}
    holdouts.write_all(model(knowledge=1))
    holdouts.write_champion(model(knowledge=0.9), split=early)
    assert run()["unfair_champion"] is None
    holdouts.write_split(holdouts.pairs(), user_space="1a2b3c4d")
    assert "drawn by the ids of users" in run()["unfair_champion"]
    holdouts.write_split(holdouts.pairs(), cold_items=0.1)
    assert "it was trained on all items, and this split withholds 0.1" in run()["unfair_champion"]


@pytest.mark.parametrize(("then", "fair"), [(0.05, False), (0.1, True), (0.2, True)])
def test_a_champion_is_asked_for_cold_items_only_if_it_was_trained_on_none_of_them(
    workspace: Workspace, then: float, fair: bool
) -> None:
    holdouts.write_all(model(knowledge=1))
    holdouts.write_split(holdouts.pairs(), cold_items=0.1)
    holdouts.write_champion(model(knowledge=0.9), split=holdouts.SPLIT | {"cold_items": then})
    metrics = run()
    assert (metrics["unfair_champion"] is None) == fair
    assert ("champion" in metrics["models"]) == fair


def test_content_knows_the_genre_and_is_left_out_where_no_item_has_a_text(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    values = run()["models"]
    assert values["content"]["tail_recall@20"] > 2 * values["popularity"]["tail_recall@20"]
    assert values["content"]["cold_recall_among_cold@10"] == 1.0
    holdouts.write_embeddings(texts=False)
    assert list(run()["models"]) == ["candidate", "popularity", "random"]


def test_the_best_release_is_ranked_on_the_same_holdout_where_it_is_not_the_champion(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=0.5))
    holdouts.write_champion(model(knowledge=0.3), version="v3.0.0", best={"ndcg@10": model(knowledge=1)})
    metrics = run()
    values = metrics["models"]
    assert list(values) == ["best v1.0.0", "candidate", "champion", "content", "popularity", "random"]
    assert columns("tradeoff.csv")["model"] == [
        "candidate",
        "champion",
        "best v1.0.0",
        "popularity",
        "random",
        "content",
    ]
    assert (metrics["unfair_best"], metrics["absent_best"]) == ({}, {})
    holdouts.write_candidate(model(knowledge=1))
    again = run()["models"]
    assert again["candidate"] == again["best v1.0.0"] == values["best v1.0.0"]
    holdouts.write_champion(model(knowledge=0.3))  # which is the best release itself
    assert "best v1.0.0" not in run()["models"]


def test_a_best_release_that_has_seen_pairs_of_the_holdout_is_not_evaluated(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    holdouts.write_champion(model(knowledge=0.9), version="v3.0.0", best={"ndcg@10": model(knowledge=0.8)})
    path = Path("data/champion/champion.json")
    identity = outputs.read_json(path)
    identity["best"]["ndcg@10"]["split"] = holdouts.SPLIT | {"seed": 7}
    rewrite(path, identity)
    metrics = run()
    assert metrics["unfair_champion"] is None
    assert "v1.0.0 has seen pairs of this holdout: its pairs were drawn" in metrics["unfair_best"]["best v1.0.0"]
    assert "champion" in metrics["models"]
    assert "best v1.0.0" not in metrics["models"]


def test_a_best_release_without_files_is_not_evaluated_and_the_reason_is_kept(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    older = {"ndcg@10": model(knowledge=0.8)}
    holdouts.write_champion(model(knowledge=0.9), version="v3.0.0", best=older, absent={"v1.0.0": "it is nowhere"})
    metrics = run()
    assert metrics["absent_best"] == {"best v1.0.0": "it is nowhere"}
    assert "best v1.0.0" not in metrics["models"]


def test_a_best_release_whose_files_were_swapped_is_refused(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    holdouts.write_champion(model(knowledge=0.9), version="v3.0.0", best={"ndcg@10": model(knowledge=0.8)})
    path = Path("data/champion/champion.json")
    shutil.copy(path.with_name("model.safetensors"), path.with_name("v1.0.0-model.safetensors"))
    rewrite(path, outputs.read_json(path))
    with pytest.raises(ValueError, match=r"data/champion/v1\.0\.0-model\.safetensors is not that of v1\.0\.0"):
        run()


def rewrite(path: Path, content: dict[str, Any]) -> None:
    """Another content of a stage's JSON file, and a manifest that matches the folder as it is."""
    outputs.write_json(path, content)
    path.with_name(outputs.MANIFEST).unlink()
    outputs.write_manifest(path.parent, stage=path.parent.name, inputs={})
