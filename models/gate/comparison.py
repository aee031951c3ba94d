"""The figures that rules compare: each model's metrics on the users of a slice, and what every user adds to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from models.evaluation import metrics, parity
from models.evaluation.measure import Evaluation
from models.evaluation.metrics import Bools, Floats
from models.gate import leave_one_out
from models.gate.rules import Rule

Slices = Mapping[str, Bools]  # (n_users,) by name: who belongs to it
EVERYBODY: Slices = MappingProxyType({})


class Figure(NamedTuple):
    """What is computed of whom."""

    model: str
    metric: str
    slice: str | None
    partner: str | None  # users for whom this model has no value do not count either


@dataclass(frozen=True)
class Measured:
    """A figure's value, and users' values of which it is the mean: of all lists together, to first order."""

    value: float
    values: Floats  # (n,) in order of users, the same users for both figures of a rule
    least: float  # what a user's value cannot be below, and above, beside `base`
    most: float
    n_users: int  # who have a value of their own
    base: float = 0.0  # of users' values, where these are what users add to it

    def ends(self, other: Measured | None) -> tuple[float, float]:
        """Least and greatest value that one more user can have: the extremes of both models of a rule."""
        both = [self] if other is None else [self, other]
        return self.base + min(each.least for each in both), self.base + max(each.most for each in both)


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
) -> dict[Figure, Measured]:
    """All figures that the rules compare; those of models that were not evaluated are left out."""
    named = {figure for rule in rules for contender in contenders for figure in figures(rule, contender)}
    return {f: measured(f, evaluations, is_tail, slices) for f in named if f.model in evaluations}


def measured(figure: Figure, evaluations: Mapping[str, Evaluation], is_tail: Bools, slices: Slices) -> Measured:
    """One figure of the users of its slice.

    A figure F of all lists together is the mean of F + n (added_i - mean added), where user i adds added_i = F - F
    without i (the pseudo-values of Tukey's jackknife). What one more user can add is not known; between nothing and
    what any user adds, and an item that nobody else is shown, stand for it. Nor is the greatest value known of metrics
    without an upper end, for which twice the greatest that was found stands.
    """
    users = users_of(figure, evaluations, slices)
    base, metric, k = metrics.look_up(figure.metric)
    evaluation = evaluations[figure.model]
    if metric.per_user:
        values = evaluation.per_user[figure.metric][users]
        highest = metric.highest if np.isfinite(metric.highest) else 2 * float(np.abs(values).max(initial=0.0))
        return Measured(mean(values), values, metric.lowest, highest, n_users=len(values))
    if base in parity.RATIOS:
        level, added = leave_one_out.of_sums(parity.figure, parity.columns(evaluation.counts, base, k) * users[:, None])
        item = 0.0
    else:
        lists = np.where(users[:, None], evaluation.lists[:, :k], -1)
        level, added = leave_one_out.losses(base, lists, is_tail)
        item = leave_one_out.one_more_item(base, lists, is_tail)
    added = added[members(figure, evaluation, slices)]
    added = added if len(added) > 1 else added[:0]  # one user alone shows nothing of how users differ
    n, start = len(added), level - float(added.sum())
    ends = n * float(added.min(initial=0.0)), n * float(added.max(initial=item))
    return Measured(level, start + n * added, *ends, n_users=int(users.sum()), base=start)


def mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


def members(figure: Figure, evaluation: Evaluation, slices: Slices) -> Bools:
    """Users of the figure's slice (n_users,)."""
    return np.ones(len(evaluation.lists), np.bool_) if figure.slice is None else slices[figure.slice]


def users_of(figure: Figure, evaluations: Mapping[str, Evaluation], slices: Slices) -> Bools:
    """Who counts (n_users,): users of the slice for whom the model has something, and its partner too."""
    evaluation = evaluations[figure.model]
    users = members(figure, evaluation, slices)
    base, metric, _ = metrics.look_up(figure.metric)
    if base in parity.RATIOS:  # who is shown nothing has unseen items all the same
        return users
    if not metric.per_user:
        return users & (evaluation.lists >= 0).any(axis=1)
    for name in (figure.model, figure.partner):
        if name is not None and name in evaluations:
            users = users & ~np.isnan(evaluations[name].per_user[figure.metric])
    return users
