"""Leave-one-out losses of coverage, Gini index, entropy and parity of all lists, as a basis of intervals.

Other users of the same population would get items that are in none of these lists. Resampled lists cannot contain such
items, so a bootstrap varies less than other users would. Differences from leaving one user out (jackknife; Tukey 1958)
do not have this flaw: their variance is on average at least the true one (Efron and Stein 1981, Annals of Statistics
9(3)).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from models.evaluation import exposure
from models.evaluation.metrics import Bools, Counts, Floats, Lists, ratio


def losses(name: str, lists: Lists, is_tail: Bools) -> tuple[float, Floats]:
    """Return a figure of `exposure.OF_EXPOSURE` of lists (n_users, k), and each user's contribution, (n_users,).

    is_tail: (n_items,). If a user's list is the only one, its contribution is 0.
    """
    counts = np.bincount(lists[lists >= 0], minlength=len(is_tail))
    level = float(exposure.OF_EXPOSURE[name](counts.astype(np.float64), is_tail))
    without = OF_EXPOSURE[name](lists, counts, is_tail)
    return level, np.where(np.isnan(without), 0.0, level - without)


def one_more_item(name: str, lists: Lists, is_tail: Bools) -> float:
    """Return the gain of coverage by one more item; 0 if all items are listed, and for figures other than coverage."""
    among = {"item_coverage": np.ones_like(is_tail), "tail_coverage": is_tail}.get(name)
    if among is None:
        return 0.0
    shown = np.isin(np.flatnonzero(among), lists)
    return 0.0 if shown.all() else 1 / len(shown)


def of_sums(figure: Callable[[Floats], Floats], columns: Floats) -> tuple[float, Floats]:
    """Return a figure of the sums of users' columns (n_users, m), and each user's contribution, (n_users,)."""
    sums = columns.sum(axis=0)
    level, without = float(figure(sums)), figure(sums - columns)
    return level, np.where(np.isnan(without), 0.0, level - without)


def coverage(lists: Lists, counts: Counts, among: Bools) -> Floats:
    """Return the coverage of the items `among` without each user: items listed only for that user are lost."""
    alone = (counts == 1) & among
    shown = ((counts > 0) & among).sum()
    return ratio(shown - (alone[lists] & (lists >= 0)).sum(axis=1), np.array(among.sum()))


def entropy(lists: Lists, counts: Counts, is_tail: Bools) -> Floats:
    """Return the entropy without each user, from log2 N - Σ e log2 e / N with a tabulated change per removed item."""
    present = lists >= 0
    terms = np.concatenate([[0.0], (e := np.arange(1.0, counts.max(initial=0) + 1)) * np.log2(e)])  # of e exposures
    lost = np.diff(terms, prepend=0.0)[counts]  # (n_items,)
    total = counts.sum() - present.sum(axis=1)
    rest = terms[counts].sum() - (lost[lists] * present).sum(axis=1)
    uncertainty: Floats = np.log2(total, out=np.full(len(lists), np.nan), where=total > 0) - ratio(rest, total)
    return uncertainty


def gini(lists: Lists, counts: Counts, is_tail: Bools) -> Floats:
    """Return the Gini index without each user, from the sum of |e_i - e_j| over all pairs of items.

    An item exposed once less gets closer to items with less exposure, and farther from all others; two items of the
    same list keep their distance.
    """
    n, present = len(counts), lists >= 0
    ascending = np.sort(counts)
    distances = float((2.0 * np.arange(1, n + 1) - n - 1) @ ascending)
    below = np.searchsorted(ascending, counts)  # number of items with less exposure, (n_items,)
    change = n - 1 - 2 * below
    of_list = np.sort(np.where(present, counts[lists], -1), axis=1)  # -1 for padding
    equal = sum(
        ((of_list[:, gap:] == of_list[:, :-gap]) & (of_list[:, gap:] > 0)).sum(axis=1)
        for gap in range(1, lists.shape[1])
    )
    return ratio(
        distances + (change[lists] * present).sum(axis=1) - 2.0 * equal, n * (counts.sum() - present.sum(axis=1))
    )


OF_EXPOSURE: dict[str, Callable[[Lists, Counts, Bools], Floats]] = {
    "item_coverage": lambda lists, counts, is_tail: coverage(lists, counts, np.ones_like(is_tail)),
    "tail_coverage": coverage,
    "gini": gini,
    "entropy": entropy,
}
