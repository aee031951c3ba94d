"""A score taken apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.inference.cold_level import ColdLevel
from models.inference.explanation import explain
from models.inference.factors import Factors
from models.inference.user_side import LeastSquares, Pooling
from tests.models.small_factors import pooled_factors, small_factors

N = 30


def with_all_parts(model: Factors) -> Factors:
    """The model with a bonus for cold ones, of which item 3 is one."""
    d = model.item_factors.shape[1]
    cold = ColdLevel(np.arange(N) == 3, np.zeros(d, np.float32), np.eye(d, dtype=np.float32), 0.7)
    bias = model.popularity_bias.copy()
    bias[3] = 0
    return replace(model, popularity_bias=bias, cold=cold)


MODELS = [with_all_parts(small_factors(n_items=N, d=6)), with_all_parts(pooled_factors(n_items=N, d=6))]


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(MODELS),
    st.lists(st.tuples(st.integers(0, N - 1), st.floats(0.1, 5)), max_size=12, unique_by=lambda pair: pair[0]),
    st.integers(0, N - 1),
)
def test_the_parts_add_up_to_the_score(model: Factors, pairs: list[tuple[int, float]], item: int) -> None:
    history, weights = np.array([i for i, _ in pairs], np.int64), np.array([w for _, w in pairs])
    parts = explain(model, history, item, weights=weights)
    score = (model.queries(model.fold_in([history], [weights])) @ model.item_vectors()[item])[0]
    assert parts.score == pytest.approx(score, rel=1e-5, abs=1e-5)
    assert parts.history.sum() + parts.baseline + parts.cold == pytest.approx(parts.score)


def test_contributions_are_those_of_the_papers_formula() -> None:
    """Hu, Koren, Volinsky 2008, equation 7, with the inverse formed."""
    model, history, w = small_factors(n_items=N, d=6), np.array([4, 9, 17]), np.array([1.0, 3.0, 0.5])
    (side,) = model.users
    assert isinstance(side, LeastSquares)
    y = model.item_factors.astype(np.float64)
    ridge = side.regularization * (3 + side.unobserved_weight * N) ** side.frequency_exponent
    system = (
        side.unobserved_weight * y.T @ y
        + ridge * np.eye(6)
        + sum(c * np.outer(y[j], y[j]) for j, c in zip(history, w, strict=True))
    )
    expected = [c * y[8] @ np.linalg.inv(system) @ y[j] for j, c in zip(history, w, strict=True)]
    assert np.allclose(explain(model, history, 8, weights=w).history, expected, atol=1e-5)


def test_a_linear_pooled_user_is_explained_by_its_terms() -> None:
    sources = np.random.default_rng(2).normal(size=(N, 6)).astype(np.float32)
    model = replace(small_factors(n_items=N, d=6), users=(Pooling(sources, 1.0),))
    parts = explain(model, np.array([4, 9]), 8, weights=np.array([1.0, 3.0]))
    y = model.item_factors[8]
    assert np.allclose(parts.history, [sources[4] @ y / 4, 3 * sources[9] @ y / 4], atol=1e-5)
    assert parts.baseline == 0


def test_what_a_perceptron_says_without_any_input_is_the_baseline() -> None:
    model = pooled_factors(n_items=N, d=6)
    silent = tuple(replace(s, sources=s.sources * 0) if isinstance(s, Pooling) else s for s in model.users)
    solved = small_factors(n_items=N, d=18).item_factors * 0
    model = replace(
        model, users=silent, gram=model.gram * 0, item_factors=np.hstack([solved[:, :6], model.item_factors[:, 6:]])
    )
    parts = explain(model, np.array([4, 9]), 8)
    assert not parts.history.any()
    assert parts.baseline == pytest.approx(
        float(model.fold_in([np.array([4, 9])])[0] @ model.item_factors[8]), rel=1e-4
    )


def test_a_past_item_just_like_the_recommended_one_speaks_for_it_most() -> None:
    model = small_factors(n_items=N, d=6)
    factors = model.item_factors.copy()
    factors[8] = factors[9]
    parts = explain(replace(model, item_factors=factors), np.array([4, 9, 17]), 8)
    assert parts.history.argmax() == 1


def test_an_empty_history_explains_nothing() -> None:
    parts = explain(MODELS[1], np.array([], np.int64), 3)
    assert (parts.score, parts.history.tolist(), parts.baseline, parts.cold) == (0, [], 0, 0)


def test_the_bonus_is_for_cold_items() -> None:
    warm, cold = (explain(MODELS[0], np.array([4, 9]), item) for item in (8, 3))
    assert warm.cold == 0
    assert cold.cold != 0


def test_text_and_what_goes_beyond_it_add_up_to_history_and_baseline() -> None:
    model, embedding = MODELS[1], np.array([0.3, -1.0], np.float32)
    parts = explain(model, np.array([4, 9]), 8, embedding=embedding)
    user = model.fold_in([np.array([4, 9])])[0]
    assert parts.text == pytest.approx(float(user @ model.anchors(embedding[None])[0]), rel=1e-4)
    assert parts.text is not None
    assert parts.beyond_text is not None
    assert parts.text + parts.beyond_text == pytest.approx(parts.history.sum() + parts.baseline)


@pytest.mark.parametrize("embedding", [None, np.zeros(2, np.float32)])
def test_without_text_its_part_is_unknown(embedding: np.ndarray | None) -> None:
    parts = explain(MODELS[0], np.array([4, 9]), 8, embedding=embedding)
    assert parts.text is None
    assert parts.beyond_text is None


def test_weights_of_another_history_are_refused() -> None:
    with pytest.raises(ValueError, match="2 weights for a history of 3"):
        explain(MODELS[0], np.array([1, 2, 3]), 8, weights=np.ones(2))
