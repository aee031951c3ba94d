"""Exposure metrics: the tail in a user's list, and the distribution of exposure over all items.

`lists` are (n_users, k), padded with -1; `exposure` (..., n_items) counts how often each item is listed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from models.evaluation.metric import Bools, Counts, Floats, Judged, Lists, Metric, ratio

NUMBERS = 2**24  # numbers of list vectors at a time: 64 MB


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
    interactions = csr_array((np.ones_like(histories.data), histories.indices, histories.indptr), shape=histories.shape)
    before = ratio(interactions @ users_of_item.astype(np.float64), np.diff(histories.indptr))
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


def coverage_without_each(lists: Lists, counts: Counts, among: Bools) -> Floats:
    """Return the coverage of the items `among` without each user: items listed only for that user are lost."""
    alone = (counts == 1) & among
    shown = ((counts > 0) & among).sum()
    return ratio(shown - (alone[lists] & (lists >= 0)).sum(axis=1), np.array(among.sum()))


def entropy_without_each(lists: Lists, counts: Counts, is_tail: Bools) -> Floats:
    """Return the entropy without each user, from log2 N - Σ e log2 e / N with a tabulated change per removed item."""
    present = lists >= 0
    terms = np.concatenate([[0.0], (e := np.arange(1.0, counts.max(initial=0) + 1)) * np.log2(e)])  # of e exposures
    lost = np.diff(terms, prepend=0.0)[counts]  # (n_items,)
    total = counts.sum() - present.sum(axis=1)
    rest = terms[counts].sum() - (lost[lists] * present).sum(axis=1)
    uncertainty: Floats = np.log2(total, out=np.full(len(lists), np.nan), where=total > 0) - ratio(rest, total)
    return uncertainty


def gini_without_each(lists: Lists, counts: Counts, is_tail: Bools) -> Floats:
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


def in_batches(lists: Lists, embeddings: npt.NDArray[np.floating[Any]]) -> Floats:
    """Return the diversity of each list, in batches: the vectors of all lists at once would take most of the memory."""
    batch = max(1, NUMBERS // (max(lists.shape[1], 1) * embeddings.shape[1]))
    parts = [lists[start : start + batch] for start in range(0, len(lists), batch)]
    return np.concatenate([np.empty(0), *(diversity(part, embeddings) for part in parts)])


def popularity_lift_of(judged: Judged, k: int) -> Floats | None:
    if judged.histories is None:
        return None
    return popularity_lift(judged.lists[:, :k], judged.catalogue.users_of_item, judged.histories)


def diversity_of(judged: Judged, k: int) -> Floats | None:
    return None if judged.embeddings is None else in_batches(judged.lists[:, :k], judged.embeddings)


METRICS = {
    "aplt": Metric(
        "tail", "share of tail items in a list",
        of_users=lambda of, k: aplt(of.lists[:, :k], of.catalogue.is_tail),
    ),
    "aclt": Metric(
        "tail", "number of tail items in a list", unit="items", highest=math.inf,
        of_users=lambda of, k: aclt(of.lists[:, :k], of.catalogue.is_tail),
    ),
    "arp": Metric(
        "tail", "mean number of train users of listed items", unit="users", higher_is_better=False, highest=math.inf,
        of_users=lambda of, k: arp(of.lists[:, :k], of.catalogue.users_of_item),
    ),
    "novelty": Metric(
        "tail", "rarity of listed items: mean -log2 of the share of users", unit="bits", highest=math.inf,
        of_users=lambda of, k: novelty(of.lists[:, :k], of.catalogue.users_of_item, n_users=of.catalogue.n_users),
    ),
    "popularity_lift": Metric(
        "tail", "relative excess of a list's popularity over the user's history; 0 is faithful",
        higher_is_better=False, lowest=-1.0, highest=math.inf, of_users=popularity_lift_of,
    ),
    "diversity": Metric(
        "tail", "dissimilarity of the texts in a list: 1 - mean cosine", highest=2.0, of_users=diversity_of
    ),
    "item_coverage": Metric(
        "tail", "share of the catalogue that is in any list", covers=np.ones_like,
        of_exposure=lambda exposure, is_tail: coverage(exposure),
        without_each=lambda lists, counts, is_tail: coverage_without_each(lists, counts, np.ones_like(is_tail)),
    ),
    "tail_coverage": Metric(
        "tail", "share of the tail that is in any list", covers=lambda is_tail: is_tail,
        of_exposure=lambda exposure, is_tail: coverage(exposure[..., is_tail]),
        without_each=coverage_without_each,
    ),
    "gini": Metric(
        "tail", "inequality of item exposure: 0 all equal, 1 a single item", higher_is_better=False,
        of_exposure=lambda exposure, is_tail: gini(exposure), without_each=gini_without_each,
    ),
    "entropy": Metric(
        "tail", "evenness of item exposure", unit="bits", highest=math.inf,
        of_exposure=lambda exposure, is_tail: entropy(exposure), without_each=entropy_without_each,
    ),
}  # fmt: skip
