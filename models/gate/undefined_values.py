"""Undefined values of a metric: a mean skips these users, which must not favour a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import permutations

import numpy as np

from models.evaluation import metrics
from models.evaluation.measure import Evaluation


def check(name: str, evaluations: Mapping[str, Evaluation]) -> None:
    """Raise ValueError if models differ in the users with a value, for metrics where only the holdout decides that."""
    defined = {model: ~np.isnan(each.per_user[name]) for model, each in evaluations.items() if name in each.per_user}
    for (model, ours), (other, theirs) in permutations(defined.items(), 2):
        if lost := int((theirs & ~ours).sum()):
            raise ValueError(
                f"{name} of {model} is undefined for {lost} users for whom that of {other} is defined; "
                "run `dvc repro --force --downstream evaluate`"
            )


def filled(evaluations: Mapping[str, Evaluation], model: str, names: Iterable[str]) -> dict[str, Evaluation]:
    """Return the evaluations with the worst value for users without a value of `model` but with one of another model.

    Diversity of a list with one text is undefined, but such a list is a loss, and is counted as one. The worst value is
    the end of the metric's range, or without an end the worst of any model and user.
    """
    per_user = dict(evaluations[model].per_user)
    for name in names:
        metric = metrics.look_up(name)[1]
        if not metric.per_user:
            continue
        of_all = np.stack([each.per_user[name] for each in evaluations.values() if name in each.per_user])
        lost = np.isnan(per_user[name]) & ~np.isnan(of_all).all(axis=0)  # (n_users,)
        if lost.any():
            end = metric.lowest if metric.higher_is_better else metric.highest
            per_user[name] = np.where(lost, end if np.isfinite(end) else np.nanmax(of_all), per_user[name])
    return {**evaluations, model: replace(evaluations[model], per_user=per_user)}
