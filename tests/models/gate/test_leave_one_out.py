"""Leave-one-out losses equal the differences to the figures of the remaining lists."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation.metrics import REGISTRY
from models.gate.leave_one_out import losses

OF_EXPOSURE = {name: metric.of_exposure for name, metric in REGISTRY.items() if metric.of_exposure is not None}

N_ITEMS = 9
TAIL = np.arange(N_ITEMS) > 3
a_list = st.lists(st.integers(0, N_ITEMS - 1), max_size=5, unique=True).map(
    lambda items: items + [-1] * (5 - len(items))
)


@given(st.lists(a_list, min_size=1, max_size=6), st.sampled_from(sorted(OF_EXPOSURE)))
def test_losses_are_the_differences_of_the_figures_themselves(rows: list[list[int]], name: str) -> None:
    def figure(lists: np.ndarray) -> float:
        counts = np.bincount(lists[lists >= 0], minlength=N_ITEMS).astype(np.float64)
        return float(OF_EXPOSURE[name](counts, TAIL))

    lists = np.array(rows, np.int32)
    level, lost = losses(name, lists, TAIL)
    assert level == pytest.approx(figure(lists), nan_ok=True)
    for user in range(len(lists)):
        rest = figure(np.delete(lists, user, axis=0))
        assert lost[user] == pytest.approx(0.0 if np.isnan(rest) else level - rest, abs=1e-12)
