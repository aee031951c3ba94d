"""The service's search against the definition of candidates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bento.model.index import Index
from models.inference.candidates import TAIL, Bools, Floats, of_scores
from models.inference.cells import Cells
from models.inference.factors import Factors
from models.inference.user_side import LeastSquares
from models.packaging.cell_building import build


def index(vectors: Floats, is_tail: Bools, cells: Cells | None = None) -> Index:
    """Of a model without cold items."""
    n, d = vectors.shape
    side = LeastSquares(d, unobserved_weight=0.1, regularization=1.0, frequency_exponent=1.0)
    gram, nothing = vectors.T @ vectors, np.zeros(0, np.float32)
    factors = Factors(vectors, gram, n, (side,), np.ones(n, np.float32), nothing, np.zeros((1, d), np.float32))
    return Index(factors, is_tail, cells)


@given(
    n_items=st.integers(1, 400), share=st.sampled_from([0.0, 0.3, 1.0]), k=st.integers(1, 300), seed=st.integers(0, 99)
)
def test_it_finds_the_candidates_that_the_definition_finds(n_items: int, share: float, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, query = rng.normal(size=(n_items, 6)).astype(np.float32), rng.normal(size=6).astype(np.float32)
    is_tail, seen = rng.random(n_items) < share, np.flatnonzero(rng.random(n_items) < 0.2)
    scores = vectors @ query
    scores[seen] = -np.inf
    expected = of_scores(scores, is_tail, k=k)
    found = index(vectors, is_tail).candidates(query, 0.0, seen, k=k)
    assert [i for i in found.items[0] if i >= 0] == [i for i in expected.items[0] if i >= 0]
    present = found.items[0] >= 0
    np.testing.assert_allclose(
        found.relevance[0][present], expected.relevance[0][expected.items[0] >= 0], rtol=1e-4, atol=1e-4
    )


@given(n_items=st.integers(2, 400), n_cells=st.integers(1, 30), k=st.integers(1, 50), seed=st.integers(0, 99))
def test_in_cells_it_finds_the_candidates_of_what_it_looks_at(n_items: int, n_cells: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, query = rng.normal(size=(n_items, 6)).astype(np.float32), rng.normal(size=6).astype(np.float32)
    is_tail, seen = rng.random(n_items) < 0.3, np.flatnonzero(rng.random(n_items) < 0.2)
    cells = replace(build(vectors, n_cells=n_cells, seed=0), share=0.3)
    scores = cells.scanned(query, vectors @ query, wanted=k + len(seen))
    scores[seen] = -np.inf
    expected = of_scores(scores, is_tail, k=k)
    found = index(vectors, is_tail, cells).candidates(query, 0.0, seen, k=k)
    assert [i for i in found.items[0] if i >= 0] == [i for i in expected.items[0] if i >= 0]


def test_a_tail_of_more_items_than_candidates_gives_the_best_of_it() -> None:
    vectors = -np.arange(500, dtype=np.float32)[:, None]
    found = index(vectors, np.arange(500) >= 300).candidates(np.ones(1, np.float32), 0.0, np.array([301]), k=5)
    assert [i for i in found.items[0][-TAIL:] if i >= 300] == [300, *range(302, 301 + TAIL)]
