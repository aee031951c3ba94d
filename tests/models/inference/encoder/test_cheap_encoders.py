"""Cheaper encoders: eight bits, a table of tokens, and the measure of what they keep."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.inference.encoder import static_encoder
from models.inference.encoder.quantization import quantized, restored
from models.packaging.neighbour_overlap import overlap


@given(st.integers(0, 1000))
def test_a_matrix_in_eight_bits_comes_back_to_half_a_step(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight = (rng.normal(size=(5, 7)) * rng.choice([0, 1e-3, 1, 50], (5, 1))).astype(np.float32)
    bias = rng.normal(size=5).astype(np.float32)
    packed = quantized({"w": weight, "b": bias})
    assert packed["w"].dtype == np.int8
    back = restored(packed)
    assert back.keys() == {"w", "b"}
    assert (back["b"] == bias).all()
    assert (np.abs(back["w"] - weight) <= np.abs(weight).max(axis=1, keepdims=True) / 254 * 1.001).all()


def units(rng: np.random.Generator, n: int) -> npt.NDArray[np.float32]:
    vectors = rng.normal(size=(n, 8)).astype(np.float32)
    return np.stack([static_encoder.unit(vector) for vector in vectors])


def test_overlap_is_whole_for_equal_vectors_and_that_of_chance_for_others() -> None:
    rng = np.random.default_rng(0)
    catalogue = units(rng, 400)
    assert overlap(catalogue[:50], catalogue[:50], catalogue) == 1
    assert overlap(catalogue[:200], units(rng, 200), catalogue) == pytest.approx(10 / 399, abs=0.015)
    assert overlap(catalogue[:5], -catalogue[:5], catalogue[:11]) == 1  # nothing to choose from


def test_overlap_counts_neighbours_of_an_item_without_itself() -> None:
    angles = np.array([0, 1, 2, 3, 100, 101], np.float32) / 200 * np.pi
    catalogue = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert overlap(catalogue[:1], catalogue[1:2], catalogue, k=2) == 1  # {1, 2}, 0 itself being left out of both
    assert overlap(catalogue[:1], catalogue[4:5], catalogue, k=2) == 0


def test_a_table_gives_texts_the_direction_of_their_words_and_rare_ones_count_more() -> None:
    rng = np.random.default_rng(1)
    words = units(rng, 30)  # vectors of 30 words, of which number 0 is in every text
    texts = [[0, *rng.choice(np.arange(1, 30), 3, replace=False).tolist()] for _ in range(500)]
    vectors = np.stack([static_encoder.unit(words[ids[1:]].sum(axis=0)) for ids in texts])
    turn = np.linalg.qr(rng.normal(size=(8, 8)))[0].astype(np.float32)  # the encoder sees single words otherwise
    table = static_encoder.distilled(words @ turn, texts, vectors)
    cosines = [float(static_encoder.vector(table, ids) @ vector) for ids, vector in zip(texts, vectors, strict=True)]
    assert np.mean(cosines) > 0.95
    assert np.linalg.norm(table[0]) < 0.5 * np.linalg.norm(table[1:], axis=1).mean()
