"""Peer models: EASE, and the ALS and item-item neighbours of the library `implicit`.

Every function fits to train pairs, ones in a sparse (n_users, n_items), and returns a scorer of the same users.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array, csr_matrix

from models.inference.factors import Factors
from models.inference.user_side import Floats, LeastSquares
from models.ranking import baselines
from models.ranking.fold_in import fold_in
from models.ranking.ranking import Rows, Scorer

Matrix = csr_array[Any]
CPU = torch.device("cpu")


def ease(train: Matrix, *, regularization: float) -> Scorer:
    """The linear item-item model of Steck 2019 (arXiv:1905.03375): B = I - P / diag(P), P = (XᵀX + λ I)⁻¹.

    Items without interactions have zero weights, so they are left out.
    """
    warm = np.unique(train.indices)
    x = csr_array(train[:, warm])
    gram = torch.from_numpy((x.T @ x).toarray().astype(np.float32))
    gram.diagonal().add_(regularization)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
    weights = (-inverse / inverse.diagonal()).fill_diagonal_(0).numpy()  # (warm, warm)

    def score(rows: Rows) -> torch.Tensor:
        scores = np.zeros((len(rows), train.shape[1]), np.float32)
        scores[:, warm] = x[rows] @ weights
        return torch.from_numpy(scores)

    return score


def implicit_als(train: Matrix, *, dim: int, alpha: float, regularization: float, iterations: int, seed: int) -> Scorer:
    """`implicit`'s ALS (Hu, Koren, Volinsky 2008): a positive has weight `alpha`, any other pair 1.

    Its last half-sweep is that of the items; users are folded in afterwards, exactly, as in Longtail.
    """
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    model = AlternatingLeastSquares(
        factors=dim, regularization=regularization, alpha=alpha, iterations=iterations, random_state=seed, num_threads=0
    )
    with threadpool_limits(1, "blas"):  # it has its own threads
        model.fit(csr_matrix(train), show_progress=False)
    factors = as_factors(model.item_factors, alpha=alpha, regularization=regularization)
    return baselines.factors(factors, fold_in(factors, train, device=CPU), device=CPU)


def as_factors(items: Floats, *, alpha: float, regularization: float) -> Factors:
    """Return factors that rank as `implicit` does, from (n, d): α G + λ + Σ y yᵀ is its system divided by alpha - 1."""
    extra = max(alpha - 1, 1e-6)  # of a positive, beyond an unobserved pair; the right side's scale is irrelevant
    side = LeastSquares(items.shape[1], 1 / extra, regularization / extra, 0.0)
    n, d = items.shape
    zeros = np.zeros(n, np.float32)
    return Factors(
        items, items.T @ items, n, (side,), zeros,
        text_mean=zeros[:0], text_weights=np.zeros((1, d), np.float32),
    )  # fmt: skip


def item_knn(train: Matrix, *, weighting: str, neighbours: int) -> Scorer:
    """`implicit`'s item-item neighbours: weighting cosine, tfidf or bm25; each item's k most similar."""
    from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender

    kinds = {"cosine": CosineRecommender, "tfidf": TFIDFRecommender, "bm25": BM25Recommender}
    model = kinds[weighting](K=neighbours, num_threads=0)
    model.fit(csr_matrix(train), show_progress=False)
    similarity = csr_array(model.similarity)

    def score(rows: Rows) -> torch.Tensor:
        return torch.from_numpy((train[rows] @ similarity).toarray().astype(np.float32))

    return score
