"""Anchors that hear items of similar text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from models.inference import text_neighbours
from models.training import neighbour_anchor
from models.training.als import Als
from models.training.anchor import TextAnchor
from models.training.neighbour_anchor import NeighbourAnchor
from models.training.settings import Als as Settings
from tests.models.small_interactions import from_matrix

CPU = torch.device("cpu")
SETTINGS = Settings(
    embedding_dim=4, epochs=6, unobserved_weight=0.1, regularization=1.0, frequency_exponent=1.0, cg_steps=6, seed=0
)


def tensors(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def anchored(text: torch.Tensor, weights: torch.Tensor, y: torch.Tensor, **options: float) -> NeighbourAnchor:
    anchor = NeighbourAnchor(text, **({"strength": 1.0, "ridge": 1.0, "share": 1.0} | options))
    anchor.prepare(weights)
    anchor.fit(y)
    return anchor


def linear(text: torch.Tensor, weights: torch.Tensor, y: torch.Tensor) -> TextAnchor:
    anchor = TextAnchor(text, strength=1.0, ridge=1.0)
    anchor.prepare(weights)
    anchor.fit(y)
    return anchor


def test_each_anchor_is_the_linear_one_and_the_kriged_residuals_of_the_others() -> None:
    """The slow twin: one item at a time, its own kriging system of all other warm items with text."""
    text, y, weights = tensors(9, 3, seed=1), tensors(9, 4, seed=2), torch.tensor([2.0, 1, 3, 0, 1, 1, 2, 0, 1])
    text[4] = 0
    found = anchored(text, weights, y, strength=0.8, share=0.5).predict().numpy()
    straight = linear(text, weights, y)
    predicted = straight.predict().numpy()
    residuals = (y.numpy() - predicted).astype(np.float64)
    speakers = [0, 1, 2, 5, 6, 8]
    unit = straight.features[:, :-1].numpy().astype(np.float64)
    unit /= np.sqrt((unit[speakers] ** 2).sum(1).mean())
    for item in range(9):
        others = [] if item == 4 else [j for j in speakers if j != item]  # item 4 has no text
        near = unit[others]
        kernel = np.exp(-text_neighbours.SHARPNESS * ((near[:, None] - near[None]) ** 2).sum(-1))
        own = np.exp(-text_neighbours.SHARPNESS * ((near - unit[item]) ** 2).sum(-1))
        krige = np.linalg.solve(kernel + text_neighbours.NUGGET * np.eye(len(others)), own)
        expected = 0.8 * (predicted[item] + 0.5 * krige @ residuals[others])
        np.testing.assert_allclose(found[item], expected, atol=2e-3)


def test_without_a_share_or_without_text_it_is_the_linear_anchor() -> None:
    text, y, weights = tensors(7, 3), tensors(7, 2, seed=1), torch.ones(7)
    plain = linear(text, weights, y).predict()
    torch.testing.assert_close(anchored(text, weights, y, share=0.0).predict(), plain)
    nothing = torch.zeros(7, 3)
    torch.testing.assert_close(anchored(nothing, weights, y).predict(), linear(nothing, weights, y).predict())


@hypothesis_settings(max_examples=20, deadline=None)
@given(st.integers(0, 6), st.floats(-100, 100, allow_nan=False))
def test_an_item_says_nothing_of_itself_beyond_the_linear_map(item: int, shift: float) -> None:
    text, y, weights = tensors(7, 3), tensors(7, 2, seed=1), torch.ones(7)
    changed = y.clone()
    changed[item] += shift
    before, after = (anchored(text, weights, factors) for factors in (y, changed))
    spoken = before.correction[item] - (before.smoother @ (before.features @ (after.weights - before.weights)))[item]
    torch.testing.assert_close(after.correction[item], spoken, atol=1e-3, rtol=1e-3)


def test_turning_all_factors_turns_the_anchors() -> None:
    text, y, weights = tensors(8, 3), tensors(8, 4, seed=1), torch.ones(8)
    basis = torch.linalg.qr(tensors(4, 4, seed=5))[0]
    anchor = anchored(text, weights, y)
    before = anchor.predict()
    anchor.turn(basis)
    torch.testing.assert_close(anchor.predict(), before @ basis, atol=1e-5, rtol=1e-4)


def test_only_the_heaviest_items_speak_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbour_anchor, "SUPPORT", 2)
    anchor = anchored(tensors(6, 3), torch.tensor([1.0, 5, 2, 3, 0, 4]), tensors(6, 2, seed=1))
    heard = anchor.smoother.to_dense().abs().sum(0) > 0
    assert heard.tolist() == [False, True, False, False, False, True]


def test_a_rare_sequel_is_drawn_to_the_users_of_its_twin_in_text() -> None:
    """Two groups of users; item 8 has one user of the first group and the text of an item that group likes."""
    likes = np.zeros((20, 10), np.float32)
    likes[:10, :4] = likes[10:, 4:8] = 1
    likes[0, 8] = likes[15, 9] = 1
    text = torch.nn.functional.normalize(tensors(10, 16, seed=3))
    text[8] = torch.nn.functional.normalize(text[0] + 0.05 * text[9], dim=0)

    def gap(share: float) -> float:
        """Return the mean score of item 8 in the first group minus that in the second, users without it."""
        anchor = NeighbourAnchor(text, strength=1.0, ridge=10.0, share=share)
        als = Als(from_matrix(likes), anchor, replace(SETTINGS, epochs=10), device=CPU)
        for _ in als.epochs():
            pass
        scores = als.user_factors @ als.item_factors[8]
        return float(scores[1:10].mean() - scores[10:].mean())

    assert gap(1.0) > gap(0.0) + 0.05
