"""What the package stage reads, made by hand: a small random model, its data, and a verdict on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from models.factors import Factors
from models.reranking import Rerank
from models.user_side import LeastSquares
from pipelines import _artifacts as artifacts
from pipelines import _model, _tables

N_ITEMS, N_USERS = 40, 12
ITEM_IDS = [f"i{i:03}" for i in range(N_ITEMS)]
USER_IDS = sorted(["0007", "NA", "null", "ü/ 1", *(f"u{u}" for u in range(N_USERS - 4))])
HEAD, COLD = range(6), range(N_ITEMS - 4, N_ITEMS)  # item_idx; popularity falls with item_idx


def factors(seed: int = 0) -> Factors:
    rng = np.random.default_rng(seed)
    item_factors = rng.normal(size=(N_ITEMS, 8)).astype(np.float32)
    popularity = np.log1p(np.maximum(N_ITEMS - 4 - np.arange(N_ITEMS), 0)).astype(np.float32)
    return Factors(
        item_factors=item_factors,
        gram=item_factors.T @ item_factors,
        popularity_bias=popularity / popularity.max(),
        text_mean=np.zeros(0, np.float32),
        text_weights=np.zeros((1, 8), np.float32),
        users=(LeastSquares(8, unobserved_weight=0.1, regularization=0.05, frequency_exponent=1.0),),
        n_warm_items=N_ITEMS - 4,
        rerank=Rerank("slots", 0.5, np.arange(N_ITEMS) >= len(HEAD), rng.random(N_ITEMS, np.float32)),
    )


def history(user: int) -> list[int]:
    """Item indices that user number `user` has touched: between 3 and 9 of the warm items."""
    rng = np.random.default_rng([1, user])
    return sorted(rng.choice(N_ITEMS - 4, size=rng.integers(3, 10), replace=False).tolist())


def write(verdict: str = "PROMOTE", *, model: Factors | None = None) -> dict[str, Any]:
    """Write data/ingest, split, train and gate below the current folder; returns the verdict."""
    pairs = [(user_id, ITEM_IDS[i]) for u, user_id in enumerate(USER_IDS) for i in history(u)]
    users, items = map(list, zip(*pairs, strict=True))
    n = len(pairs)
    interactions = [users, items, [1.0] * n, [None] * n, [1] * n]
    with artifacts.stage("ingest") as stage:
        table = pa.table(interactions, schema=_tables.INTERACTIONS)
        _tables.write(table, stage.output("interactions.parquet"))
    with artifacts.stage("split") as stage:
        _tables.write(items_table(), stage.output("items.parquet"))
        artifacts.write_json(stage.output("holdout.json"), {"head_share": 0.8})
    with artifacts.stage("train") as stage:
        _model.write(model or factors(), stage.output("model.safetensors"), provenance={})
    digests = {"model": artifacts.sha256(Path("data/train/model.safetensors")), "tail": "0" * 64}
    judged = {"verdict": verdict, "reason": "every rule passes", "rules": [], "digests": digests}
    with artifacts.stage("gate") as stage:
        artifacts.write_json(stage.output("verdict.json"), judged)
    return judged


def title(i: int) -> str:
    """A title that a page must not take for markup."""
    return f"Title {i} «ü» <img src=x onerror=alert(1)> &amp;"


def items_table() -> pa.Table:
    idx = np.arange(N_ITEMS, dtype=np.int32)
    return pa.table(
        {
            "item_idx": idx,
            "item_id": ITEM_IDS,
            "title": [title(i) for i in range(N_ITEMS)],
            "text": [f"text {i}" for i in idx],
            "popularity": np.maximum(N_ITEMS - 4 - idx, 0).astype(np.int32),
            "is_head": idx < len(HEAD),
            "is_tail": idx >= len(HEAD),
            "is_cold": idx >= COLD.start,
        }
    )
