"""The search on valid: it finds what is better, stops what is worse, and goes on where it was interrupted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.train import search
from pipelines.train.search import Range, Score, Trial

SPACE = {"regularization": Range(0.01, 100, log=True), "embedding_dim": Range(8, 64, integer=True)}
START = [{"regularization": 90.0, "embedding_dim": 60, "epochs": 9}]


def bowl(settings: dict[str, Any]) -> Iterator[Score]:
    """Best at regularization 1 and dimension 20, better after each of 9 epochs."""
    away = math.log10(settings["regularization"]) ** 2 + ((settings["embedding_dim"] - 20) / 20) ** 2
    for epoch in range(1, 10):
        yield Score(1 - away - 1 / epoch, {"ndcg": 1 - away})


def run(journal: Path, *, trials: int = 25, scores: Any = bowl) -> list[Trial]:
    return list(search.search(SPACE, START, scores, trials=trials, epochs=9, seed=4, journal=journal))


def comparable(trials: list[Trial]) -> list[tuple[Any, ...]]:
    return [(t.number, t.settings, t.objectives, t.pruned, t.error) for t in trials]


def test_the_first_trial_is_the_start_and_the_best_one_is_far_better(tmp_path: Path) -> None:
    trials = run(tmp_path / "j")
    best = search.best(trials)
    assert trials[0].settings == {"regularization": 90.0, "embedding_dim": 60}
    assert 0.3 < best.settings["regularization"] < 3
    assert best.objective > 0.6 > trials[0].objective
    assert best.figures["ndcg"] == pytest.approx(best.objective + 1 / 9)


def test_hopeless_trials_get_fewer_epochs(tmp_path: Path) -> None:
    trials = run(tmp_path / "j")
    assert {len(trial.objectives) for trial in trials} == {1, 3, 9}
    assert 0 < sum(trial.pruned for trial in trials) < 25
    assert all(len(trial.objectives) == 9 for trial in trials if not trial.pruned)
    assert all(len(trial.objectives) < 9 for trial in trials if trial.pruned)


def test_an_interrupted_search_goes_on_to_the_same_trials(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    run(tmp_path / "cut", trials=7)
    with (tmp_path / "cut").open("a") as file:
        file.write('{"number": 7, "settings": {"regul')  # power failed here
    calls = []

    def counted(settings: dict[str, Any]) -> Iterator[Score]:
        calls.append(settings)
        return bowl(settings)

    assert comparable(run(tmp_path / "cut", scores=counted)) == comparable(whole)
    assert len(calls) == 25 - 7


def test_a_diverging_trial_is_recorded_and_the_search_goes_on(tmp_path: Path) -> None:
    def fragile(settings: dict[str, Any]) -> Iterator[Score]:
        if settings["embedding_dim"] > 40:
            raise ValueError("training diverged")
        yield from bowl(settings)

    trials = run(tmp_path / "j", scores=fragile)
    assert trials[0].error == "training diverged"
    assert trials[0].best_epoch == 0
    assert search.best(trials).settings["embedding_dim"] <= 40
    assert comparable(run(tmp_path / "j", scores=fragile)) == comparable(trials)


def test_a_search_without_any_sound_trial_says_why(tmp_path: Path) -> None:
    def broken(settings: dict[str, Any]) -> Iterator[Score]:
        yield Score(math.nan)

    with pytest.raises(ValueError, match=r"none of 3 trials .*objective is nan.*train.search.space"):
        search.best(run(tmp_path / "j", trials=3, scores=broken))


def test_the_best_epoch_counts_not_the_last() -> None:
    trial = Trial(0, {}, [0.1, 0.5, 0.3], {}, pruned=False, error=None, seconds=1.0)
    assert (trial.best_epoch, trial.objective) == (2, 0.5)
