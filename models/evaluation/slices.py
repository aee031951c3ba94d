"""Slices: evaluation of the same lists on a subset of users, or of items.

A slicing gives every user (or item) at most one value, "" for none; a slice is the set with the same value.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from models.evaluation import accuracy, exposure
from models.evaluation.measure import Evaluation, Relevant, deciles, exposure_of
from models.evaluation.metric import Bools, Catalogue, Lists, ratio

Names = npt.NDArray[Any]  # text: value of each user or item, "" for none
HISTORY_LENGTHS = (1, 5, 10, 20, 50, 100)  # lower bounds of the ranges
USER_METRICS = ("ndcg", "recall", "tail_recall", "aplt", "popularity_lift")


def user_groups(histories: csr_array[Any], is_tail: Bools) -> Names:
    """Return niche, diverse or blockbuster (n_users,), by the head's share of each history.

    The fifth of the users with the smallest share is niche, that with the largest blockbuster, all others diverse, as
    in Abdollahpouri et al. 2019 (arXiv:1907.13286); users of equal share are always in the same group, so that groups
    may have other sizes, and with more than three fifths equal there may be no niche or no blockbuster at all.
    """
    lengths = np.diff(histories.indptr)
    ones = np.ones(len(histories.indices))
    interactions = csr_array((ones, histories.indices, histories.indptr), shape=histories.shape)
    share = ratio(interactions @ (~is_tail).astype(np.float64), lengths)
    groups = np.where(lengths > 0, "diverse", "").astype(object)
    if (lengths > 0).any():
        low, high = (sign * np.nanquantile(sign * share, 0.2, method="inverted_cdf") for sign in (1, -1))
        groups[(share <= low) & (share < high)] = "niche"
        groups[(share >= high) & (share > low)] = "blockbuster"
    return groups.astype(np.str_)


def history_lengths(histories: csr_array[Any]) -> Names:
    """Return the length of each history (n_users,), as a range such as 5-9."""
    starts = (0, *HISTORY_LENGTHS)
    stops = [start - 1 for start in HISTORY_LENGTHS]
    ranges = [f"{a}-{b}" if a < b else f"{a}" for a, b in zip(starts, stops, strict=False)] + [f"{starts[-1]}+"]
    return np.array(ranges)[np.searchsorted(starts, np.diff(histories.indptr), side="right") - 1]


def item_slicings(catalogue: Catalogue) -> dict[str, Names]:
    """Return popularity decile, and head, tail or cold (tail items without interactions), (n_items,) each."""
    part = np.where(catalogue.is_cold, "cold", np.where(catalogue.is_tail, "tail", "head"))
    return {"decile": np.char.zfill(deciles(catalogue).astype(str), 2), "part": part}


def members(values: Names) -> dict[str, Bools]:
    """Return the mask of each value, in the values' order; those without a value are in none."""
    return {str(value): values == value for value in np.unique(values) if value}


def of_users(evaluation: Evaluation, chosen: Bools, *, n_items: int, k: int) -> dict[str, float]:
    """Return the metrics of the chosen users' (n_users,) lists alone, NaN if undefined."""
    values = {}
    for name in USER_METRICS:
        chosen_values = evaluation.per_user.get(f"{name}@{k}", np.full(len(chosen), np.nan))[chosen]
        values[f"{name}@{k}"] = float(np.nanmean(chosen_values)) if (~np.isnan(chosen_values)).any() else np.nan
    shown = np.unique(evaluation.lists[chosen, :k])
    return values | {f"item_coverage@{k}": float((shown >= 0).sum() / n_items)}


def of_items(lists: Lists, relevant: Relevant, chosen: Bools, catalogue: Catalogue, *, k: int) -> dict[str, float]:
    """Return figures of the chosen items (n_items,), NaN if undefined.

    recall: share of the relevant pairs of these items that are listed; exposure: their share of all list positions;
    coverage: share of them in any list.
    """
    top, wanted = lists[:, :k], relevant.among(chosen)
    held, total = accuracy.hits(top, wanted.rows, wanted.items, n_items=len(chosen))
    shown = exposure_of(top, catalogue)
    return {
        f"recall@{k}": float(ratio(held.sum(), np.array(total.sum()))),
        f"exposure@{k}": float(ratio(shown[chosen].sum(), np.array(shown.sum()))),
        f"item_coverage@{k}": float(exposure.coverage(shown[chosen])),
    }
