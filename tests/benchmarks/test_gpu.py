"""Benchmarks of a GPU run on a stand-in for one: see `tests.models.far_device`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from benchmarks import _gpu, embed, evaluate, mf_speed
from models.encoders.packed_encoder import PackedEncoder
from models.ranking import ranking
from tests.models.far_device import FAR, Pool, far
from tests.models.small_interactions import from_matrix, random_weights


@pytest.fixture(autouse=True)
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(ranking, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(_gpu, "devices", lambda: [FAR])
    with far():
        yield


@pytest.mark.slow
def test_texts_are_timed_there(monkeypatch: pytest.MonkeyPatch) -> None:
    states: Any = PackedEncoder.__call__
    monkeypatch.setattr(PackedEncoder, "__call__", torch.no_grad()(states.__wrapped__))
    rows = list(embed.gpu(_gpu.devices(), n_words=100))
    assert [row["texts"] for row in rows] == [length for length in embed.MEANS for _ in range(2)]
    assert all(row["texts_s"] > 0 and row["cosine"] > 0.999 for row in rows)


def test_lists_are_timed_there_beside_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    small = ("small", csr_array(np.eye(30, 40)), np.arange(40) > 9)
    monkeypatch.setattr(evaluate, "catalogues", lambda sizes: [small])
    rows = list(evaluate.rows([], 1))
    assert [row["catalogue"] for row in rows] == ["small"] * 3 + [f"small, {FAR}"] * 3


def test_epochs_are_timed_there() -> None:
    rows = list(mf_speed.epochs_on(FAR, from_matrix(random_weights())))
    assert [row["d"] for row in rows] == list(mf_speed.DIMS)
    assert all(row["least_seconds_per_epoch"] > 0 for row in rows)
