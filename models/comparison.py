"""The figures that rules compare: each model's metrics on the users of a slice, resampled together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from models import bootstrap, metrics, parity
from models.bootstrap import Statistic
from models.evaluation import Evaluation
from models.leave_one_out import losses
from models.metrics import Bools, Floats
from models.rules import Rule

Slices = Mapping[str, Bools]  # (n_users,) by name: who belongs to it
EVERYBODY: Slices = MappingProxyType({})


class Figure(NamedTuple):
    """What is computed and resampled."""

    model: str
    metric: str
    slice: str | None
    partner: str | None  # users for whom this model has no value do not count either


@dataclass(frozen=True)
class Measured:
    """A figure's value, its distribution over resamples, and the number of users it is about."""

    value: float
    samples: Floats  # (resamples,)
    n_users: int


def figures(rule: Rule, contender: str) -> list[Figure]:
    """What a rule compares: the contender's figure, and that of its reference on the same users."""
    mean = metrics.look_up(rule.metric)[1].per_user
    ours = Figure(contender, rule.metric, rule.slice, rule.reference if mean else None)
    if rule.reference is None:
        return [ours]
    return [ours, Figure(rule.reference, rule.metric, rule.slice, contender if mean else None)]


def measure(
    rules: Iterable[Rule],
    contenders: Sequence[str],
    evaluations: Mapping[str, Evaluation],
    is_tail: Bools,
    slices: Slices,
    *,
    resamples: int,
    seed: int,
) -> dict[Figure, Measured]:
    """All figures that the rules compare, resampled together; those of models that were not evaluated are left out."""
    named = {figure for rule in rules for contender in contenders for figure in figures(rule, contender)}
    wanted = sorted((f for f in named if f.model in evaluations), key=str)
    if not wanted:
        return {}
    counted = {figure: users_of(figure, evaluations, slices) for figure in wanted}
    statistics = {figure: statistic(figure, evaluations, is_tail, users) for figure, users in counted.items()}
    n_users = len(next(iter(evaluations.values())).lists)
    values = bootstrap.estimates(statistics, n_users=n_users)
    spread = bootstrap.distributions(statistics, n_users=n_users, resamples=resamples, seed=seed)
    return {f: Measured(values[f], spread[f], int(users.sum())) for f, users in counted.items()}


def users_of(figure: Figure, evaluations: Mapping[str, Evaluation], slices: Slices) -> Bools:
    """Who counts (n_users,): users of the slice for whom the model has something, and its partner too."""
    evaluation = evaluations[figure.model]
    users = np.ones(len(evaluation.lists), np.bool_) if figure.slice is None else slices[figure.slice]
    base, metric, _ = metrics.look_up(figure.metric)
    if base in parity.RATIOS:  # who is shown nothing has unseen items all the same
        return users
    if not metric.per_user:
        return users & (evaluation.lists >= 0).any(axis=1)
    for name in (figure.model, figure.partner):
        if name is not None and name in evaluations:
            users = users & ~np.isnan(evaluations[name].per_user[figure.metric])
    return users


def statistic(figure: Figure, evaluations: Mapping[str, Evaluation], is_tail: Bools, users: Bools) -> Statistic:
    """A metric of the given users as a function of how often each user counts."""
    base, metric, k = metrics.look_up(figure.metric)
    evaluation = evaluations[figure.model]
    if metric.per_user:
        return bootstrap.mean_of(np.where(users, evaluation.per_user[figure.metric], np.nan))
    if base in parity.RATIOS:
        columns = parity.columns(evaluation.counts, base, k) * users[:, None]
        return Statistic(columns, parity.figure, centred=True)
    return bootstrap.first_order(*losses(base, np.where(users[:, None], evaluation.lists[:, :k], -1), is_tail))
