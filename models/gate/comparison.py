"""The figures that rules compare: each model's metrics on the users of a slice, and every user's contribution."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from models.evaluation import metrics, parity
from models.evaluation.measure import Evaluation
from models.evaluation.metric import Bools, Floats
from models.gate import leave_one_out
from models.gate.rule import Rule

Slices = Mapping[str, Bools]  # by name, the mask of members (n_users,)
EVERYBODY: Slices = MappingProxyType({})


class Figure(NamedTuple):
    """A metric of a model on a slice."""

    model: str
    metric: str
    slice: str | None
    partner: str | None  # users without a value of this model are excluded too


@dataclass(frozen=True)
class Measured:
    """A figure's value, and users' values with this mean; for figures of all lists together, to first order."""

    value: float
    values: Floats  # (n,) in order of users, the same users for both figures of a rule
    least: float  # bounds of a user's value, without `base`
    most: float
    n_users: int  # with a value of their own
    base: float = 0.0  # offset of users' values, if these are contributions

    def ends(self, other: Measured | None) -> tuple[float, float]:
        """Return the least and greatest value of one more user: the extremes of both models of a rule."""
        both = [self] if other is None else [self, other]
        return self.base + min(each.least for each in both), self.base + max(each.most for each in both)


def figures(rule: Rule, contender: str) -> list[Figure]:
    """Return the figures of a rule: the contender's, and its reference's on the same users."""
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
    """Measure all figures that the rules compare, except those of models that were not evaluated."""
    named = {figure for rule in rules for contender in contenders for figure in figures(rule, contender)}
    return {f: measured(f, evaluations, is_tail, slices) for f in named if f.model in evaluations}


def measured(figure: Figure, evaluations: Mapping[str, Evaluation], is_tail: Bools, slices: Slices) -> Measured:
    """Measure one figure on the users of its slice.

    A figure F of all lists together is the mean of F + n (added_i - mean added), where user i adds added_i = F - F
    without i (the pseudo-values of Tukey's jackknife). The contribution of one more user is unknown; its assumed bounds
    cover 0, the contributions of all users, and that of one new item. For metrics without an upper end, twice the
    greatest value found is the bound.
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
    added = added if len(added) > 1 else added[:0]  # one user alone has no spread
    n, start = len(added), level - float(added.sum())
    ends = n * float(added.min(initial=0.0)), n * float(added.max(initial=item))
    return Measured(level, start + n * added, *ends, n_users=int(users.sum()), base=start)


def mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


def members(figure: Figure, evaluation: Evaluation, slices: Slices) -> Bools:
    """Return the mask of the figure's slice (n_users,)."""
    return np.ones(len(evaluation.lists), np.bool_) if figure.slice is None else slices[figure.slice]


def users_of(figure: Figure, evaluations: Mapping[str, Evaluation], slices: Slices) -> Bools:
    """Return the mask (n_users,) of users of the slice with a value of the model, and of its partner."""
    evaluation = evaluations[figure.model]
    users = members(figure, evaluation, slices)
    base, metric, _ = metrics.look_up(figure.metric)
    if base in parity.RATIOS:  # users with empty lists have unseen items all the same
        return users
    if not metric.per_user:
        return users & (evaluation.lists >= 0).any(axis=1)
    for name in (figure.model, figure.partner):
        if name is not None and name in evaluations:
            users = users & ~np.isnan(evaluations[name].per_user[figure.metric])
    return users
