"""Exposure metrics: the tail in a user's list, and the distribution of exposure over all items.

`lists` are (n_users, k), padded with -1; `exposure` (..., n_items) counts how often each item is listed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from models.evaluation.metrics import Bools, Floats, Lists, ratio


def aplt(lists: Lists, is_tail: Bools) -> Floats:
    """Share of tail items in a list, |L ∩ T| / |L|, per user (APLT of Abdollahpouri et al. 2019, arXiv:1901.07555).

    |L| is k, or less if fewer items were left.
    """
    return mean_over_list(lists, is_tail.astype(np.float64))


def aclt(lists: Lists, is_tail: Bools) -> Floats:
    """Number of tail items in a list, |L ∩ T|, per user (ACLT of the same paper)."""
    counts: Floats = (is_tail[lists] & (lists >= 0)).sum(axis=1).astype(np.float64)
    return counts


def arp(lists: Lists, users_of_item: npt.NDArray[np.integer[Any]]) -> Floats:
    """Mean number of train users of the items in a list, per user (ARP; Yin et al. 2012, PVLDB 5(9)).

    RecTools' AvgRecPopularity if each pair is stored once: it counts rows, not users. LensKit's MeanPopRank is
    different: it uses quantiles of popularity.
    """
    return mean_over_list(lists, users_of_item.astype(np.float64))


def novelty(lists: Lists, users_of_item: npt.NDArray[np.integer[Any]], *, n_users: int) -> Floats:
    """Mean -log2(users(i) / users) over a list, in bits, per user (Zhou et al. 2010, PNAS 107(10)).

    An item without interactions counts as if it had one user: RecTools' MeanInvUserFreq, with users who have an
    interaction in train, as here.
    """
    return mean_over_list(lists, -np.log2(np.maximum(users_of_item, 1) / n_users))


def popularity_lift(lists: Lists, users_of_item: npt.NDArray[np.integer[Any]], histories: csr_array[Any]) -> Floats:
    """Relative popularity of a list to the user's history, ARP(L) / ARP(H) - 1, per user; 0 is faithful.

    Per user, where Abdollahpouri et al. 2019 (arXiv:1907.13286, ΔGAP) compare the means over a group of users.
    histories: (n_users, n_items), stored entries are interactions; NaN for an empty history.
    """
    touched = csr_array((np.ones_like(histories.data), histories.indices, histories.indptr), shape=histories.shape)
    before = ratio(touched @ users_of_item.astype(np.float64), np.diff(histories.indptr))
    return ratio(arp(lists, users_of_item), before) - 1


def diversity(lists: Lists, embeddings: npt.NDArray[np.floating[Any]]) -> Floats:
    """Intra-list diversity: 1 - mean cosine over the pairs of a list, per user (Ziegler et al. 2005, WWW).

    embeddings: unit vectors (n_items, t). Items without text (zero rows) are left out; NaN below two with text,
    for which RecTools' IntraListDiversity has 0. From |Σ v|² = n + Σ_(a≠b) v_a·v_b, so no pair is formed.
    """
    vectors = embeddings[lists] * (lists >= 0)[:, :, None]  # (n_users, k, t)
    n = vectors.any(axis=2).sum(axis=1).astype(np.float64)
    sums = vectors.sum(axis=1, dtype=np.float64)
    return 1 - ratio((sums**2).sum(axis=1) - n, n * (n - 1))


def mean_over_list(lists: Lists, of_item: Floats) -> Floats:
    """Mean (n_users,) of a figure of items (n_items,) over each list; NaN for an empty list."""
    present = lists >= 0
    lengths = present.sum(axis=1)
    sums = (of_item[lists] * present).sum(axis=1)
    return ratio(sums, lengths)


def coverage(exposure: Floats) -> Floats:
    """Share of items in any list, |U L_u| / |I| (Herlocker et al. 2004, TOIS 22(1)); NaN without items.

    On the tail's columns alone it is tail coverage, |U L_u ∩ T| / |T|.
    """
    return ratio((exposure > 0).sum(axis=-1), np.array(exposure.shape[-1]))


def gini(exposure: Floats) -> Floats:
    """Gini index of exposure over the whole catalogue: 0 all items equally often, (n - 1)/n one item only.

    Σ_j (2j - n - 1) e_(j) / (n Σ e) with e sorted ascending (Fleder and Hosanagar 2009, Management Science 55(5));
    NaN without any exposure. LensKit's ListGini over all items of the catalogue.
    """
    n = exposure.shape[-1]
    weighted = np.sort(exposure, axis=-1) @ (2 * np.arange(1, n + 1) - n - 1)
    total = exposure.sum(axis=-1)
    return ratio(weighted, n * total)


def entropy(exposure: Floats) -> Floats:
    """Entropy -Σ p log2 p of exposure, in bits: 0 one item only, log2 n all items equally often (Shannon 1948)."""
    total = exposure.sum(axis=-1, keepdims=True)
    p = np.divide(exposure, total, out=np.zeros_like(exposure), where=total > 0)
    bits = -(p * np.log2(p, out=np.zeros_like(p), where=p > 0)).sum(axis=-1)
    return np.where(total[..., 0] > 0, bits, np.nan)


def disparity(shares: Floats) -> Floats:
    """Relative spread of the chances (..., groups) of groups of items: 0 equal, 1 if only one of two is listed.

    Standard deviation / mean over the groups. Of P(listed | group) it is PopRSP, of P(listed | group, relevant) PopREO
    (Zhu et al. 2020, SIGIR; as in Zhu et al. 2021, WSDM, with head and tail as groups). NaN if no group is listed.
    """
    return ratio(shares.std(axis=-1), shares.mean(axis=-1))


OF_EXPOSURE: dict[str, Callable[[Floats, Bools], Floats]] = {  # of exposure (..., n_items) and is_tail (n_items,)
    "item_coverage": lambda exposure, is_tail: coverage(exposure),
    "tail_coverage": lambda exposure, is_tail: coverage(exposure[..., is_tail]),
    "gini": lambda exposure, is_tail: gini(exposure),
    "entropy": lambda exposure, is_tail: entropy(exposure),
}
