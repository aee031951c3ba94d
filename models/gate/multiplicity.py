"""Multiple tests: Holm's correction of their levels."""

from __future__ import annotations

import numpy as np

from models.evaluation.metric import Bools, Floats


def holm(p_values: Floats, *, level: float) -> Bools:
    """Return the mask of hypotheses (m,) to reject, with a familywise error rate of at most `level`.

    Step-down: the i-th smallest p is compared with level / (m - i), i from 0, until the first that is larger (Holm
    1979, Scandinavian Journal of Statistics 6(2)). Raising one p never rejects another hypothesis.
    """
    order = np.argsort(p_values, kind="stable")
    within = p_values[order] <= level / np.arange(len(p_values), 0, -1)
    rejected = np.zeros(len(p_values), np.bool_)
    rejected[order] = np.logical_and.accumulate(within)
    return rejected
