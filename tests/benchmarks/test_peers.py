"""The models that ours is measured against rank as their papers and libraries say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array, csr_matrix

from benchmarks import _peers as peers
from models.ranking.fold_in import fold_in


def block_data(seed: int = 0) -> csr_array:
    """Two groups of users with items of their own, (40, 30), and an item nobody has."""
    rng = np.random.default_rng(seed)
    dense = rng.random((40, 30)) < 0.1
    dense[:20, :15] |= rng.random((20, 15)) < 0.5
    dense[20:, 15:] |= rng.random((20, 15)) < 0.5
    dense[:, 29] = False
    return csr_array(dense.astype(np.float32))


def test_ease_solves_each_item_by_ridge_regression_on_the_others() -> None:
    train, ridge = block_data(), 3.0
    scores = peers.ease(train, regularization=ridge)(np.arange(40)).numpy()
    x = train.toarray().astype(np.float64)
    slow = np.zeros_like(x)
    for item in range(30):
        others = np.delete(x, item, axis=1)
        weights = np.linalg.solve(others.T @ others + ridge * np.eye(29), others.T @ x[:, item])
        slow[:, item] = others @ weights
    np.testing.assert_allclose(scores, slow, atol=1e-4)


@pytest.mark.parametrize("alpha", [1.0, 8.0])
def test_users_of_implicit_are_folded_in_as_it_does_itself(alpha: float) -> None:
    als = pytest.importorskip("implicit.cpu.als", reason="implicit is not installed; it is in the extra `bench`")
    train = block_data()
    model = als.AlternatingLeastSquares(
        factors=6, alpha=alpha, regularization=0.5, iterations=4, random_state=1, num_threads=1, use_cg=False
    )
    model.fit(csr_matrix(train), show_progress=False)
    own = model.recalculate_user(np.arange(40), csr_matrix(train)) @ model.item_factors.T
    factors = peers.as_factors(model.item_factors, alpha=alpha, regularization=0.5)
    ours = fold_in(factors, train, device=peers.CPU) @ factors.item_factors.T
    scale = (own * ours).sum() / (ours * ours).sum()
    assert scale > 0
    np.testing.assert_allclose(scale * ours, own, atol=2e-3 * np.abs(own).max())


def test_neighbours_of_a_history_add_up() -> None:
    pytest.importorskip("implicit", reason="implicit is not installed; it is in the extra `bench`")
    train = block_data()
    scores = peers.item_knn(train, weighting="cosine", neighbours=30)(np.arange(40)).numpy()
    x = train.toarray()
    lengths = np.linalg.norm(x, axis=0)
    cosine = (x.T @ x) / np.maximum(np.outer(lengths, lengths), 1e-9)
    np.testing.assert_allclose(scores, x @ cosine, atol=1e-4)
