"""Hyper-parameter search on valid: trials proposed by TPE, stopped early by successive halving, stored as they finish.

Every finished trial is a line of a journal, from which an interrupted search resumes: the same budget gives the same
trials, however often it was interrupted.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import optuna

from pipelines.artifacts import outputs

REDUCTION = 3  # one in so many trials that reach a rung continues
RUNGS = 3  # the first rung is at 1 / REDUCTION^(RUNGS - 1) of the epochs

COMPLETE, PRUNED, FAIL = (optuna.trial.TrialState[name] for name in ("COMPLETE", "PRUNED", "FAIL"))

Settings = dict[str, Any]


@dataclass(frozen=True)
class Range:
    """Allowed values of a hyper-parameter."""

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def distribution(self) -> optuna.distributions.BaseDistribution:
        if self.integer:
            return optuna.distributions.IntDistribution(int(self.low), int(self.high), log=self.log)
        return optuna.distributions.FloatDistribution(self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Score:
    """Score of the settings on valid after an epoch."""

    objective: float  # larger is better
    figures: Mapping[str, float] = field(default_factory=dict)  # its components


@dataclass(frozen=True)
class Trial:
    """Settings of a trial, and the score after each of its epochs."""

    number: int
    settings: Settings
    objectives: list[float]
    figures: dict[str, float]  # of the best epoch
    pruned: bool
    error: str | None
    seconds: float

    @property
    def best_epoch(self) -> int:
        """Return the best epoch, counted from 1; 0 if no epoch ended."""
        return max(range(len(self.objectives)), key=self.objectives.__getitem__) + 1 if self.objectives else 0

    @property
    def objective(self) -> float:
        return self.objectives[self.best_epoch - 1] if self.objectives else -math.inf


def search(
    space: Mapping[str, Range],
    start: Sequence[Settings],
    scores: Callable[[Settings], Iterator[Score]],
    *,
    trials: int,
    epochs: int,
    seed: int,
    journal: Path,
) -> Iterator[Trial]:
    """Yield `trials` trials, those of an earlier run first; `start`: the settings of the first trial.

    scores: yields the score after each of at most `epochs` epochs; a ValueError there ends the trial, not the search.
    """
    distributions = {name: bounds.distribution() for name, bounds in space.items()}
    rungs = {max(1, epochs // REDUCTION**n) for n in range(1, RUNGS)}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    finished = read(journal)[:trials]
    for trial in finished:
        study.add_trial(frozen(trial, distributions))
        yield trial
    for number in range(len(finished), trials):
        # Optuna's own pruner has state that the journal cannot restore
        others = {rung: [t.objectives[rung - 1] for t in finished if len(t.objectives) >= rung] for rung in rungs}
        with warnings.catch_warnings():  # multivariate is marked experimental
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # seeded by the number, so that a resumed search proposes the same settings as an uninterrupted one
            study.sampler = optuna.samplers.TPESampler(seed=seed + number, multivariate=True)
        if number < len(start):
            study.enqueue_trial({name: start[number][name] for name in space})
        asked = study.ask(distributions)
        trial = run_trial(dict(asked.params), number, scores, others)
        finished.append(trial)
        state = outcome(trial)
        for epoch, objective in enumerate(trial.objectives, start=1):
            asked.report(objective, epoch)
        study.tell(asked, trial.objective if state is COMPLETE else None, state=state)
        append(journal, trial)
        yield trial


def run_trial(
    settings: Settings, number: int, scores: Callable[[Settings], Iterator[Score]], others: Mapping[int, list[float]]
) -> Trial:
    """Train until the last epoch, or until a rung at which too many `others` (rung -> objectives) were better.

    Asynchronous successive halving (Li et al. 2020, arXiv:1810.05934).
    """
    objectives: list[float] = []
    figures: dict[str, float] = {}
    pruned, error, started = False, None, time.perf_counter()
    try:
        for epoch, score in enumerate(scores(settings), start=1):
            if not math.isfinite(score.objective):
                raise ValueError(f"the objective is {score.objective} after epoch {epoch}")
            if not objectives or score.objective > max(objectives):
                figures = dict(score.figures)
            objectives.append(score.objective)
            better = [other for other in others.get(epoch, []) if other >= score.objective]
            if pruned := len(better) >= math.ceil((len(others.get(epoch, [])) + 1) / REDUCTION):
                break
    except ValueError as failure:
        objectives, figures, error = [], {}, str(failure)
    seconds = round(time.perf_counter() - started, 3)
    return Trial(number, settings, objectives, figures, pruned, error, seconds)


def best(trials: Sequence[Trial]) -> Trial:
    """Return the trial with the best epoch, the earlier one in case of a tie. Raises ValueError if no epoch ended."""
    sound = [trial for trial in trials if trial.objectives]
    if not sound:
        reasons = "; ".join(sorted({str(trial.error) for trial in trials}))
        raise ValueError(f"none of {len(trials)} trials could be trained ({reasons}); narrow train.search.space")
    return max(sound, key=lambda trial: trial.objective)


def outcome(trial: Trial) -> optuna.trial.TrialState:
    return FAIL if trial.error else PRUNED if trial.pruned else COMPLETE


def frozen(trial: Trial, distributions: dict[str, Any]) -> optuna.trial.FrozenTrial:
    """Return a finished trial as an object of Optuna."""
    state = outcome(trial)
    value = {COMPLETE: trial.objective, PRUNED: trial.objectives[-1] if trial.objectives else None}
    return optuna.trial.create_trial(
        state=state,
        value=value.get(state),
        params=trial.settings,
        distributions=distributions,
        intermediate_values=dict(enumerate(trial.objectives, start=1)),
    )


def read(journal: Path) -> list[Trial]:
    """Return the finished trials of a journal, empty if it is missing; a truncated line counts as unfinished."""
    if not journal.is_file():
        return []
    trials: list[Trial] = []
    for line in journal.read_text("utf-8").splitlines():
        try:
            trial = Trial(**json.loads(line))
        except (json.JSONDecodeError, TypeError):
            break
        if trial.number != len(trials):
            break
        trials.append(trial)
    return trials


def append(journal: Path, trial: Trial) -> None:
    """Append a line after the valid part of the journal; it survives a crash completely or not at all."""
    lines = [json.dumps(asdict(known)) for known in [*read(journal), trial]]
    with outputs.written(journal) as partial:
        partial.write_text("\n".join(lines) + "\n", "utf-8")
