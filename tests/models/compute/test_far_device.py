"""Computations on a GPU keep their tensors there and agree with the CPU; see `tests.models.far_device`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from models.encoders.packed_encoder import PackedEncoder
from models.encoders.text_encoder import encode
from models.evaluation.measure import Relevant
from models.inference.encoder.bert_weights import arrange
from models.inference.factors import Factors
from models.inference.reranking import Rerank
from models.ranking import baselines, ranking
from models.ranking.fold_in import fold_in
from models.ranking.seen import Seen
from models.training.anchor import TextAnchor
from models.training.neighbour_anchor import NeighbourAnchor
from models.training.settings import Settings
from models.training.trainers import trainer
from models.tuning import cold_items, tail_setting
from tests.models import tiny_bert
from tests.models.far_device import FAR, Operations, Pool, far
from tests.models.small_interactions import from_matrix, histories, random_weights
from tests.models.training.test_trainers import BRIEFLY

CPU = torch.device("cpu")
TEXTS = np.random.default_rng(1).normal(size=(9, 5)).astype(np.float32)
MATRIX = random_weights(cold=2)


@pytest.fixture(autouse=True)
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(ranking, "ThreadPoolExecutor", Pool)
    with far():
        yield


def trained(settings: Settings, device: torch.device, kind: str = "neighbours") -> Factors:
    texts = torch.from_numpy(TEXTS).to(device)
    anchors: dict[str, Callable[[], TextAnchor | None]] = {
        "neighbours": lambda: NeighbourAnchor(texts, strength=0.7, ridge=0.5, share=0.5),
        "linear": lambda: TextAnchor(texts, strength=0.7, ridge=0.5),
        "none": lambda: None,
    }
    model = trainer(settings, from_matrix(MATRIX), anchors[kind](), device=device)
    for _ in model.epochs():
        pass
    return model.factors()


def same(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_stand_in_refuses_what_a_gpu_refuses() -> None:
    there = torch.ones(3, 3).to(FAR)
    with pytest.raises(RuntimeError, match="on the CPU"):
        there @ torch.ones(3, 3)
    with pytest.raises(RuntimeError, match="numpy"):
        there.numpy()


@pytest.mark.parametrize("anchor", ["neighbours", "linear", "none"])
@pytest.mark.parametrize("name", BRIEFLY)
def test_every_model_is_trained_there(name: str, anchor: str) -> None:
    found, expected = (trained(BRIEFLY[name], device, anchor) for device in (FAR, CPU))
    known = histories(MATRIX)
    users = [fold_in(model, known, device=device) for model, device in ((found, FAR), (expected, CPU))]
    same(users[0] @ found.item_factors.T, users[1] @ expected.item_factors.T)
    same(found.popularity_bias, expected.popularity_bias)


def test_lists_are_found_there() -> None:
    model, known = trained(BRIEFLY["als"], CPU), histories(MATRIX)
    rows, allowed, seen = np.arange(known.shape[0]), np.ones(known.shape[1], np.bool_), Seen(known)

    def lists(device: torch.device) -> Any:
        scorers = [
            baselines.factors(model, fold_in(model, known, device=device), device=device),
            baselines.content(known, TEXTS, device=device),
        ]
        return [
            np.concatenate(list(ranking.recommend(scorer, seen, rows=rows, allowed=allowed, k=4, batch=5)))
            for scorer in scorers
        ]

    np.testing.assert_array_equal(lists(FAR), lists(CPU))


def test_scores_are_read_once_there_and_nothing_waits_before_what_was_found_is_fetched() -> None:
    rng, n_users, n_items = np.random.default_rng(0), 30, 6000
    users, items = (torch.from_numpy(rng.normal(size=(n, 4)).astype(np.float32)) for n in (n_users, n_items))
    seen, every = csr_array(rng.random((n_users, n_items)) < 0.01), np.ones(n_items, np.bool_)
    scorer, excluded = baselines.products(users.to(FAR), items.to(FAR)), Seen(seen)
    ranking.unseen(scorer, excluded, np.arange(1))  # what users have seen is sent there once
    with Operations() as operations:
        found, _ = ranking.top_k(ranking.unseen(scorer, excluded, np.arange(n_users)), every, k=20)
    large = [name for name, size in operations.sizes if size > n_users * n_items // 2]
    # what gathers and puts by index touches no more than it is pointed at
    assert [name for name in large if name not in ("gather", "index_put_")] == ["mm", "amax"]
    assert operations.fetched == ["_to_copy", "_to_copy"]  # items and scores
    expected, _ = ranking.top_k(
        ranking.unseen(baselines.products(users, items), excluded, np.arange(n_users)), every, k=20
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("batch", "tile"), [(2, 9), (5, 9 * 12), (3, 9 * 4), (40, 1)])
def test_lists_do_not_depend_on_batches_or_tiles_there(batch: int, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "FAR_TILE", tile)
    model, known, is_tail = trained(BRIEFLY["als"], CPU), histories(MATRIX), np.arange(MATRIX.shape[1]) > 3
    rows = np.array([3, 11, 0, 7, 7, 1, 10, 2, 5])  # neither in order nor once each

    def lists(device: torch.device) -> Any:
        scorer = baselines.factors(model, fold_in(model, known, device=device), device=device)
        options: Any = {"rows": rows, "allowed": np.arange(MATRIX.shape[1]) != 2, "k": 4, "batch": batch}
        found = list(ranking.recommend(scorer, Seen(known), **options))
        assert [len(part) for part in found] == [len(part) for part in ranking.batches(rows, batch)]
        how = Rerank("popularity", 0.5, is_tail, np.linspace(1, 0, MATRIX.shape[1], dtype=np.float32))
        again = ranking.reranked(scorer, Seen(known), how, histories=known, **options)
        return np.concatenate([*found, *again])

    np.testing.assert_array_equal(lists(FAR), lists(CPU))


def test_nobody_to_recommend_to_has_no_lists() -> None:
    options: Any = {"rows": np.arange(0), "allowed": np.ones(9, np.bool_), "k": 4, "batch": 5}
    assert not list(ranking.recommend(baselines.random(9, seed=1), Seen(histories(MATRIX)), **options))


def test_what_is_re_ranked_is_found_there() -> None:
    model, known, is_tail = trained(BRIEFLY["als"], CPU), histories(MATRIX), np.arange(MATRIX.shape[1]) > 3
    found, expected = (tail_setting.shortlist(model, known, is_tail, batch=5, device=device) for device in (FAR, CPU))
    np.testing.assert_array_equal(found.items, expected.items)
    same(found.relevance, expected.relevance)


def test_cold_items_are_raised_there() -> None:
    model, known = trained(BRIEFLY["als"], CPU), histories(MATRIX)
    relevant = Relevant(np.arange(12), np.random.default_rng(2).integers(0, 9, 12))

    def outcomes(device: torch.device) -> list[Any]:
        _, found = cold_items.correct(model, TEXTS, known, relevant, max_ndcg_loss=0.5, seed=0, device=device)
        return [(one.height, one.ndcg, one.cold_recall, one.loss) for one in found]

    same(outcomes(FAR), outcomes(CPU))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_texts_are_embedded_there(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    states: Any = PackedEncoder.__call__
    without_inference_mode = torch.no_grad()(states.__wrapped__)  # which takes no tensors but torch's own
    monkeypatch.setattr(PackedEncoder, "__call__", without_inference_mode)
    model, config = tiny_bert.bert()
    tokens = [[2, *range(3, 3 + n)] for n in (1, 4, 31, 33, 12, 40)]

    def vectors(device: torch.device) -> Any:
        encoder = PackedEncoder(arrange(model.state_dict(), config), dtype=dtype, device=device)
        out = np.zeros((len(tokens), 32), np.float32)
        for rows, values in encode(encoder, tokens, pooling="mean", batch_tokens=64, dim=32):
            out[rows] = values
        return out

    np.testing.assert_allclose(vectors(FAR), vectors(CPU), atol=1e-5 if dtype == torch.float32 else 0.02)
