"""Principal components of vectors, against what is known of them."""

from __future__ import annotations

import numpy as np
import pytest

from models.inference.encoder.projection import Floats, fit


def cloud(n: int = 400, seed: int = 0) -> Floats:
    """Vectors (n, 5) of variances 9, 4, 1, .25 and 0, turned and moved."""
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    vectors: Floats = (rng.normal(size=(n, 5)) * [3, 2, 1, 0.5, 0] @ turn + 7).astype(np.float32)
    return vectors


def test_all_components_keep_every_angle_around_the_mean() -> None:
    vectors = cloud()
    turned = fit(vectors, np.arange(len(vectors)), method="pca", dim=4)(vectors)
    centred = vectors - vectors.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(turned @ turned.T, centred @ centred.T, atol=1e-4)


def test_few_components_are_those_of_the_singular_value_decomposition() -> None:
    vectors = cloud()
    found = fit(vectors, np.arange(len(vectors)), method="pca", dim=2)
    _, _, directions = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(directions[:2] @ found.components), np.eye(2), atol=1e-3)


def test_whitened_components_have_variance_one_and_no_covariance() -> None:
    vectors = cloud()
    found = fit(vectors, np.arange(len(vectors)), method="whiten", dim=3)
    np.testing.assert_allclose(np.cov(((vectors - found.mean) @ found.components).T, ddof=0), np.eye(3), atol=1e-3)


def test_only_the_rows_it_may_see_count_and_zero_is_nobody() -> None:
    vectors = cloud()
    vectors[300:] *= 100
    vectors[5] = 0
    seen = np.arange(300)
    found = fit(vectors, seen, method="pca", dim=3)
    alone = fit(np.delete(vectors[:300], 5, axis=0), np.arange(299), method="pca", dim=3)
    np.testing.assert_allclose(found.components, alone.components, atol=1e-5)
    assert not found(vectors)[5].any()
    np.testing.assert_allclose(np.linalg.norm(np.delete(found(vectors), 5, axis=0), axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("vectors", [cloud(), cloud(1), np.zeros((4, 5), np.float32), np.ones((4, 5), np.float32)])
def test_more_components_than_directions_are_refused_by_number(vectors: Floats) -> None:
    with pytest.raises(ValueError, match=r"embed.reduce.dimensions is 5, but the \d+ texts of train span [04] dir"):
        fit(vectors, np.arange(len(vectors)), method="pca", dim=5)
