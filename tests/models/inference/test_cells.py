"""Search in cells against the search of everything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.packaging.cell_building import build


@given(n=st.integers(1, 300), n_cells=st.integers(1, 20), seed=st.integers(0, 99))
def test_every_item_is_in_one_cell_and_the_whole_share_looks_at_all(n: int, n_cells: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, 5)).astype(np.float32)
    cells = build(vectors, n_cells=n_cells, seed=seed)
    assert sorted(cells.items.tolist()) == list(range(n))
    places = cells.places(vectors[0], wanted=1)
    assert sorted(places.tolist()) == list(range(n))


def test_a_small_share_holds_the_items_near_a_query() -> None:
    rng = np.random.default_rng(0)
    topics = np.eye(8, dtype=np.float32)
    topic = rng.integers(0, 8, 2000)
    vectors = (topics[topic] + 0.1 * rng.normal(size=(2000, 8))).astype(np.float32)
    cells = replace(build(vectors, n_cells=16, seed=0), share=0.2)
    found = cells.items[cells.places(topics[3], wanted=10)]
    best = np.argsort(-(vectors @ topics[3]))[:10]
    assert set(best) <= set(found)
    assert len(found) < 1000


def test_more_is_looked_at_where_a_share_would_be_less_than_is_wanted() -> None:
    rng = np.random.default_rng(0)
    cells = replace(build(rng.normal(size=(500, 4)).astype(np.float32), n_cells=20, seed=0), share=0.001)
    assert len(cells.places(np.ones(4, np.float32), wanted=200)) >= 200
