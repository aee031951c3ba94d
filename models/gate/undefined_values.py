"""Users for whom a metric has no value: a mean skips them, so that who they are must not help a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import permutations

import numpy as np

from models.evaluation import metrics
from models.evaluation.measure import Evaluation


def check(name: str, evaluations: Mapping[str, Evaluation]) -> None:
    """Raise ValueError where models differ in who has a value of a metric for which the holdout alone decides that."""
    defined = {model: ~np.isnan(each.per_user[name]) for model, each in evaluations.items() if name in each.per_user}
    for (model, ours), (other, theirs) in permutations(defined.items(), 2):
        if lost := int((theirs & ~ours).sum()):
            raise ValueError(
                f"{name} of {model} is undefined for {lost} users for whom that of {other} is defined; "
                "run `dvc repro --force --downstream evaluate`"
            )


def filled(evaluations: Mapping[str, Evaluation], model: str, names: Iterable[str]) -> dict[str, Evaluation]:
    """The same evaluations, with the worst value where `model` has none for a user for whom another has one.

    Diversity of a list with one text is undefined, but to have made it so is a loss, and counts as one. The worst is
    the end of the metric's range, and where that is open the worst that any model does to any user.
    """
    per_user = dict(evaluations[model].per_user)
    for name in names:
        metric = metrics.look_up(name)[1]
        if not metric.per_user:
            continue
        everybody = np.stack([each.per_user[name] for each in evaluations.values() if name in each.per_user])
        lost = np.isnan(per_user[name]) & ~np.isnan(everybody).all(axis=0)  # (n_users,)
        if lost.any():
            end = metric.lowest if metric.higher_is_better else metric.highest
            per_user[name] = np.where(lost, end if np.isfinite(end) else np.nanmax(everybody), per_user[name])
    return {**evaluations, model: replace(evaluations[model], per_user=per_user)}
