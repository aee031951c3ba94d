"""Pairs of vectors of large cosine."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.encoders import near_duplicates
from models.encoders.near_duplicates import Floats, near


def pairs(vectors: Floats, cosine: float, among: list[int]) -> set[tuple[int, int]]:
    parts = near(vectors, cosine=cosine, among=np.array(among, np.int64))
    found = [pair for i, j, _ in parts for pair in zip(i.tolist(), j.tolist(), strict=True)]
    assert len(found) == len(set(found))
    return set(found)


def test_only_rows_of_the_same_direction_are_pairs_at_cosine_one() -> None:
    vectors = np.array([[1, 0], [0, 1], [1, 0], [0, 0], [0, 0]], np.float32)
    assert pairs(vectors, 1.0, [0, 1, 2, 3, 4]) == {(0, 2)}


def test_what_is_not_asked_for_is_found_as_the_other_one() -> None:
    vectors = np.array([[1, 0], [1, 0], [1, 0]], np.float32)
    assert pairs(vectors, 0.9, [1]) == {(1, 0), (1, 2)}
    assert pairs(vectors, 0.9, [0, 1]) == {(0, 1), (0, 2), (1, 2)}


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.floats(0.2, 1), st.integers(0, 100), st.integers(1, 5))
def test_all_pairs_are_found_whatever_the_block(n: int, cosine: float, seed: int, block: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = {(i, j) for i in range(n) for j in range(i + 1, n) if float(vectors[i] @ vectors[j]) >= cosine + 1e-6}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "BLOCK", block)
        found = pairs(vectors, cosine, list(range(n)))
    assert expected <= found
    assert all(vectors[i] @ vectors[j] >= cosine - 1e-6 for i, j in found)


def test_a_thousand_items_of_one_text_are_not_half_a_million_pairs() -> None:
    vectors = np.tile(np.array([[1, 0]], np.float32), (1000, 1))
    found = pairs(vectors, 0.9, list(range(1000)))
    assert 0 < len(found) <= 1000 * near_duplicates.NEAREST
