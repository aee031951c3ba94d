"""Several tests at once: Holm's correction of the levels at which each of them may speak."""

from __future__ import annotations

import numpy as np

from models.evaluation.metrics import Bools, Floats


def holm(p_values: Floats, *, level: float) -> Bools:
    """Which hypotheses (m,) can be rejected so that any wrong rejection at all has at most probability `level`.

    Step-down: the i-th smallest p is held against level / (m - i), i from 0, and the first that is larger ends it (Holm
    1979, Scandinavian Journal of Statistics 6(2)). Raising one p never rejects another.
    """
    order = np.argsort(p_values, kind="stable")
    within = p_values[order] <= level / np.arange(len(p_values), 0, -1)
    rejected = np.zeros(len(p_values), np.bool_)
    rejected[order] = np.logical_and.accumulate(within)
    return rejected
