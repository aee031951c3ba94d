"""Leave-one-out losses of coverage, Gini index, entropy and parity of all lists, as a basis of intervals.

Other users of the same population would get items that are in none of these lists. Resampled lists cannot contain such
items, so a bootstrap varies less than other users would. Differences from leaving one user out (jackknife; Tukey 1958)
do not have this flaw: their variance is on average at least the true one (Efron and Stein 1981, Annals of Statistics
9(3)).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from models.evaluation.metric import Bools, Floats, Lists
from models.evaluation.metrics import REGISTRY


def losses(name: str, lists: Lists, is_tail: Bools) -> tuple[float, Floats]:
    """Return a metric of the exposure by lists (n_users, k), and each user's contribution, (n_users,).

    is_tail: (n_items,). If a user's list is the only one, its contribution is 0.
    """
    counts = np.bincount(lists[lists >= 0], minlength=len(is_tail))
    metric = REGISTRY[name]
    if metric.of_exposure is None or metric.without_each is None:
        raise ValueError(f"{name} is not a metric of exposure; its interval needs `of_exposure` and `without_each`")
    level = float(metric.of_exposure(counts.astype(np.float64), is_tail))
    without = metric.without_each(lists, counts, is_tail)
    return level, np.where(np.isnan(without), 0.0, level - without)


def one_more_item(name: str, lists: Lists, is_tail: Bools) -> float:
    """Return the gain of coverage by one more item; 0 if all items are listed, and for figures other than coverage."""
    covers = REGISTRY[name].covers
    if covers is None:
        return 0.0
    shown = np.isin(np.flatnonzero(covers(is_tail)), lists)
    return 0.0 if shown.all() else 1 / len(shown)


def of_sums(figure: Callable[[Floats], Floats], columns: Floats) -> tuple[float, Floats]:
    """Return a figure of the sums of users' columns (n_users, m), and each user's contribution, (n_users,)."""
    sums = columns.sum(axis=0)
    level, without = float(figure(sums)), figure(sums - columns)
    return level, np.where(np.isnan(without), 0.0, level - without)
