"""Residuals of items with similar text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.inference import text_neighbours
from models.inference.text_neighbours import NUGGET, SHARPNESS, Neighbours, krige


def vectors(n: int, t: int = 3, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, t)).astype(np.float32)


def slow_weights(e: np.ndarray, support: np.ndarray) -> np.ndarray:
    """The slow twin: every kernel value by its definition, all points of the support, one text."""

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.exp(-SHARPNESS * ((a - b) ** 2).sum()))

    system = [[k(a, b) + (NUGGET if i == j else 0) for j, b in enumerate(support)] for i, a in enumerate(support)]
    return np.linalg.solve(np.array(system), np.array([k(e, a) for a in support]))


def test_weights_solve_the_kriging_system() -> None:
    texts, support = vectors(4, seed=1), vectors(7)
    positions, weights = krige(texts, support, None)
    assert positions.tolist() == [list(range(7))] * 4
    expected = np.stack([slow_weights(e, support) for e in texts])
    np.testing.assert_allclose(weights, expected, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 6))
def test_a_point_left_out_weighs_nothing_and_the_others_as_if_it_were_not_there(out: int) -> None:
    texts, support = vectors(2, seed=1), vectors(7)
    forbidden = np.zeros((2, 7), np.bool_)
    forbidden[:, out] = True
    _, weights = krige(texts, support, forbidden)
    rest = np.delete(support, out, axis=0)
    np.testing.assert_allclose(np.delete(weights, out, axis=1)[0], slow_weights(texts[0], rest), atol=1e-5)
    assert not weights[:, out].any()


def test_far_from_every_text_nobody_speaks() -> None:
    _, weights = krige(vectors(1) + 100, vectors(7), None)
    assert not weights.any()


def test_copies_of_one_text_say_little_more_than_one() -> None:
    one = vectors(1)
    _, single = krige(one, one, None)
    _, many = krige(one, np.repeat(one, 20, axis=0), None)
    assert single.sum() == pytest.approx(1 / (1 + NUGGET))
    assert single.sum() < many.sum() < 1


def test_only_the_nearest_are_asked_in_batches_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_neighbours, "NEAREST", 2)
    monkeypatch.setattr(text_neighbours, "CELLS", 1)
    support = np.array([[0.0], [1.0], [2.0], [9.0]], np.float32)
    known = Neighbours.of(np.array([4, 5, 6, 7]), support)
    parts = list(known.near(np.array([[0.2], [8.0]], np.float32)))
    assert [known.rows[positions].tolist() for _, positions, _ in parts] == [[[4, 5]], [[6, 7]]]


def test_texts_come_back_as_given_to_half_precision() -> None:
    texts = vectors(5) * np.float32(0.01)
    known = Neighbours.of(np.arange(5), texts)
    np.testing.assert_allclose(known.centred(np.array([3, 1])), texts[[3, 1]], rtol=2e-3, atol=1e-5)
    assert (known.vectors.astype(np.float64) ** 2).sum(axis=1).mean() == pytest.approx(1, rel=1e-2)


def test_of_many_texts_a_shortlist_holds_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    spectrum = np.arange(1, 41) ** -0.8  # as texts have it: a few directions tell most
    centres = rng.normal(size=(60, 40))
    texts = ((centres[rng.integers(0, 60, 3000)] + 0.5 * rng.normal(size=(3000, 40))) * spectrum).astype(np.float32)
    queries = texts[::100] + 0.05 * rng.normal(size=(30, 40)).astype(np.float32) * spectrum.astype(np.float32)
    full = [Neighbours.of(np.arange(3000), texts).like(query, m=10) for query in queries]
    monkeypatch.setattr("models.inference.text_neighbours.FEW", 500)
    monkeypatch.setattr("models.inference.text_neighbours.COARSE", 16)
    monkeypatch.setattr("models.inference.text_neighbours.SHORTLIST", 150)
    found = Neighbours.of(np.arange(3000), texts)
    same = [np.isin(items, found.like(query, m=10)[0]).mean() for (items, _), query in zip(full, queries, strict=True)]
    assert np.mean(same) > 0.99
    items, weights = found.like(queries[0], m=10)
    assert items[0] == full[0][0][0]
    assert weights[0] == 1
