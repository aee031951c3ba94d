"""The table of models: how settings are tried, and that every model comes out of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from benchmarks import _datasets as datasets
from benchmarks import mf_quality as quality
from benchmarks.mf_quality import Contender, Range
from models.ranking.ranking import Rows, Scorer


def data(n_users: int = 30, n_items: int = 40) -> datasets.Dataset:
    """Two groups of users, each with most items of its own half of the catalogue."""
    rng = np.random.default_rng(0)
    half = n_items // 2
    pairs = {
        (f"u{user}", f"i{user % 2 * half + item:02}")
        for user in range(n_users)
        for item in rng.permutation(half)[: half * 3 // 4]
    }
    return datasets.split("halves", pairs, {item: item for _, item in pairs}, seed=1)


def test_the_first_trial_is_the_defaults_and_all_stay_in_their_ranges() -> None:
    ranges = {"a": Range((0.1, 10.0)), "b": Range(among=("x", "y"))}
    contender = Contender("any", {"a": 1.0, "b": "x", "c": 3}, ranges, quality.als)
    first, *others = contender.trials(9)
    assert first == {"a": 1.0, "b": "x", "c": 3}
    assert all(0.1 <= trial["a"] <= 10 and trial["b"] in "xy" and trial["c"] == 3 for trial in others)
    assert {trial["b"] for trial in others} == {"x", "y"}
    assert sum(trial["a"] < 1 for trial in others) == 4  # even on the log scale
    assert [first, *others] == list(contender.trials(9))


def test_the_trial_that_is_best_on_valid_is_taken_whatever_it_is_on_test() -> None:
    halves = data()
    on_valid, on_test = (torch.from_numpy(part.toarray()) for part in (halves.valid, halves.test))

    def fit(*, mix: str) -> Scorer:
        def score(rows: Rows) -> torch.Tensor:
            return (on_test if mix == "test" else on_valid)[torch.from_numpy(rows)].clone()

        return score

    contender = Contender("oracle", {"mix": "test"}, {"mix": Range(among=("test", "valid"))}, fit)
    ndcg, settings, scorer, _ = quality.best(contender, halves, 4)
    assert (ndcg, settings) == (1.0, {"mix": "valid"})
    found = quality.figures(quality.lists(quality.to_scorer(scorer, halves), halves, "test"), halves)
    assert found["ndcg@10"] < 1
    best = quality.figures(quality.lists(fit(mix="test"), halves, "test"), halves)
    assert best["ndcg@10"] == best["recall@20"] == 1


def test_users_without_a_test_pair_do_not_count() -> None:
    pairs = {(f"u{user}", f"i{item}") for user in range(3) for item in range(20 if user else 2)}
    halves = datasets.split("x", pairs, {}, seed=0)
    oracle = torch.from_numpy(halves.test.toarray())
    found = quality.lists(lambda rows: oracle[torch.from_numpy(rows)].clone(), halves, "test")
    assert halves.test[[0]].nnz == 0
    assert quality.figures(found, halves)["ndcg@10"] == 1


def test_every_model_has_a_row_and_finds_the_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("implicit", reason="implicit is not installed; it is in the extra `bench`")
    halves = data()

    def read(name: str) -> datasets.Dataset:
        return halves

    def embeddings(texts: list[str]) -> datasets.Floats:
        return np.random.default_rng(0).normal(size=(len(texts), 8)).astype(np.float32)

    monkeypatch.setattr(quality, "read", read)
    monkeypatch.setattr(quality, "embeddings", embeddings)
    rows: Iterator[dict[str, object]] = quality.rows(["halves"], trials=2)
    found = {str(row["model"]).split(", tail")[0]: row for row in rows}
    assert list(found) == ["ease", "item-kNN", "implicit ALS", "implicit ALS, same d", "longtail"]
    for row in found.values():
        # seven items of a user's half are unseen, so that twenty places hold them all before any of the other half
        assert float(str(row["recall@20"])) == 1, row
