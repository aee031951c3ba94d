"""PopRSP and PopREO: parity of the chances of head and tail items, from counts that add up over users.

PopRSP (ranking-based statistical parity): P(listed | group) = Σ_u |L_u ∩ g| / Σ_u |g that u has not seen|.
PopREO (ranking-based equal opportunity): P(listed | group, relevant) = Σ_u |L_u ∩ R_u ∩ g| / Σ_u |R_u ∩ g|.
Each is the disparity of the two chances (Zhu et al. 2020, SIGIR; Zhu et al. 2021, WSDM, with head and tail as groups).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from models.evaluation.exposure import disparity
from models.evaluation.metric import Bools, Floats, Lists, Metric, ratio

GROUPS = ("head", "tail")
RATIOS = {"poprsp": ("shown", "unseen"), "popreo": ("hits", "relevant")}  # (numerator, denominator), for each group


def counts(
    lists: Lists,
    hits: Bools,
    relevant: npt.NDArray[np.floating[Any]],
    seen: csr_array[Any],
    is_tail: Bools,
    *,
    ks: Sequence[int],
) -> dict[str, Floats]:
    """Return `shown_tail@10`, `hits_tail@10`, `relevant_tail`, `unseen_tail` and so on, (n_users,) each.

    hits: mask of relevant ranks; relevant: relevant items of head and tail, (n_users, 2); seen: (n_users, n_items),
    stored entries are excluded from lists.
    """
    interactions = csr_array((np.ones(len(seen.indices)), seen.indices, seen.indptr), shape=seen.shape)
    found = {}
    for place, (group, members) in enumerate(zip(GROUPS, (~is_tail, is_tail), strict=True)):
        listed = members[lists] & (lists >= 0)
        found[f"relevant_{group}"] = relevant[:, place].astype(np.float64)
        found[f"unseen_{group}"] = members.sum() - interactions @ members.astype(np.float64)
        for k in ks:
            found[f"shown_{group}@{k}"] = listed[:, :k].sum(axis=1).astype(np.float64)
            found[f"hits_{group}@{k}"] = (listed & hits)[:, :k].sum(axis=1).astype(np.float64)
    return found


def columns(of_user: Mapping[str, Floats], name: str, k: int) -> Floats:
    """Return the counts of a figure, (n_users, 4): numerators of head and tail, then their denominators.

    Raises KeyError if they were not counted.
    """
    above, below = RATIOS[name]
    numerators = [of_user[f"{above}_{group}@{k}"] for group in GROUPS]
    return np.stack([*numerators, *(of_user[f"{below}_{group}"] for group in GROUPS)], axis=1)


def figure(sums: Floats) -> Floats:
    """Return PopRSP or PopREO of sums over users (..., 4); NaN if a denominator is 0, or both chances are."""
    return disparity(ratio(sums[..., :2], sums[..., 2:]))


METRICS = {
    "poprsp": Metric(
        "tail", "difference of the chances of head and tail items to be listed: 0 none, 1 one group has no chance",
        higher_is_better=False,
    ),
    "popreo": Metric("tail", "poprsp among relevant items", higher_is_better=False),
}  # fmt: skip
