"""Holm's correction against its definition and by its limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.gate.multiplicity import holm

p_values = st.lists(st.floats(0, 0.2), min_size=1, max_size=8)


def closed(p: list[float], level: float) -> list[bool]:
    """Holm by the closure principle: a hypothesis falls where every set that holds it falls by Bonferroni."""
    m = len(p)
    sets = [[i for i in range(m) if chosen >> i & 1] for chosen in range(1, 2**m)]
    return [all(min(p[j] for j in s) <= level / len(s) for s in sets if i in s) for i in range(m)]


@given(p=p_values)
def test_holm_is_the_closure_of_bonferroni(p: list[float]) -> None:
    assert holm(np.array(p), level=0.05).tolist() == closed(p, 0.05)


@given(p=p_values, raised=st.integers(0, 7), by=st.floats(0, 1))
def test_raising_one_p_value_never_rejects_another(p: list[float], raised: int, by: float) -> None:
    before = holm(np.array(p), level=0.05)
    p[raised % len(p)] += by
    assert not (holm(np.array(p), level=0.05) & ~before).any()


def test_the_levels_of_three_hypotheses_are_a_third_a_half_and_all_of_it() -> None:
    assert holm(np.array([0.04, 0.016, 0.02]), level=0.05).tolist() == [True, True, True]
    assert holm(np.array([0.04, 0.017, 0.02]), level=0.05).tolist() == [False, False, False]  # the first one ends it
    assert holm(np.array([0.06, 0.01, 0.025]), level=0.05).tolist() == [False, True, True]


@pytest.mark.parametrize(("p", "rejected"), [(0.05, True), (0.0501, False)])
def test_one_hypothesis_has_the_whole_level(p: float, rejected: bool) -> None:
    assert holm(np.array([p]), level=0.05).tolist() == [rejected]


def test_no_hypothesis_is_no_rejection() -> None:
    assert holm(np.empty(0), level=0.05).tolist() == []
