"""Inputs of the package stage, made by hand: a small random model, its data, and a verdict on it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models.inference.factors import Factors
from models.inference.reranking import Rerank
from models.inference.text_neighbours import Neighbours
from models.inference.user_side import LeastSquares
from pipelines.artifacts import checkpoint, embeddings_file, model_file, outputs, tables
from pipelines.settings.document import load
from pipelines.settings.embed import Embed
from tests import made, small_encoder
from tests.settings import edited

N_ITEMS, N_USERS = 40, 12
ITEM_IDS = [f"i{i:03}" for i in range(N_ITEMS)]
USER_IDS = sorted(["0007", "NA", "null", "ü/ 1", *(f"u{u}" for u in range(N_USERS - 4))])
FIGURES = {"ndcg@10": 0.3, "tail_coverage@10": 0.5, "aplt@10": 0.2}
HEAD, COLD = range(6), range(N_ITEMS - 4, N_ITEMS)  # item_idx; popularity falls with item_idx


WORDS = ["quiet", "night", "sky", "rain", "garden", "robot", "letter", "sea", "old", "love"]
TEXTS = [f"a {WORDS[i % 10]} {WORDS[i // 10]} {WORDS[(i * 7 + i // 10) % 10]} story" for i in range(N_ITEMS)]
ENCODER = "encoder"  # a folder of the workspace, named in its params.yaml


def factors(seed: int = 0) -> Factors:
    rng = np.random.default_rng(seed)
    item_factors = rng.normal(size=(N_ITEMS, 8)).astype(np.float32)
    popularity = np.log1p(np.maximum(N_ITEMS - 4 - np.arange(N_ITEMS), 0)).astype(np.float32)
    texts, warm = embeddings(), np.arange(N_ITEMS - 4)
    mean = texts[warm].mean(axis=0)
    return Factors(
        item_factors=item_factors,
        gram=item_factors.T @ item_factors,
        popularity_bias=popularity / popularity.max(),
        text_mean=mean,
        text_weights=rng.normal(size=(texts.shape[1] + 1, 8)).astype(np.float32),
        neighbours=Neighbours.of(warm, texts[warm] - mean),
        users=(LeastSquares(8, unobserved_weight=0.1, regularization=0.05, frequency_exponent=1.0),),
        n_warm_items=N_ITEMS - 4,
        rerank=Rerank("slots", 0.5, np.arange(N_ITEMS) >= len(HEAD), rng.random(N_ITEMS, np.float32)),
    )


@cache
def embeddings() -> npt.NDArray[np.float32]:
    """Unit vectors of the texts (N_ITEMS, t)."""
    with TemporaryDirectory() as temp:
        small_encoder.write(Path(temp), [*WORDS, "a", "story"])
        return small_encoder.vectors(Path(temp), TEXTS)


def history(user: int) -> list[int]:
    """Item indices of the history of user number `user`: between 3 and 9 of the warm items."""
    rng = np.random.default_rng([1, user])
    return sorted(rng.choice(N_ITEMS - 4, size=rng.integers(3, 10), replace=False).tolist())


def write(verdict: str = "PROMOTE", *, model: Factors | None = None) -> dict[str, Any]:
    """Write data/ingest, split, train and gate below the current folder; returns the verdict."""
    pairs = [(user_id, ITEM_IDS[i]) for u, user_id in enumerate(USER_IDS) for i in history(u)]
    users, items = map(list, zip(*pairs, strict=True))
    n = len(pairs)
    interactions = [users, items, [1.0] * n, [None] * n, [1] * n]
    with made.stage("ingest") as stage:
        table = pa.table(interactions, schema=tables.INTERACTIONS)
        tables.write(table, stage.output("interactions.parquet"))
    with made.stage("split") as stage:
        tables.write(items_table(), stage.output("items.parquet"))
        outputs.write_json(stage.output("holdout.json"), {"head_share": 0.8})
    name_encoder()
    digest = checkpoint.find(load(Embed)).digest
    with made.stage("embed") as stage:
        path, vectors = stage.output(embeddings_file.NAME), embeddings()
        with embeddings_file.create(path, *vectors.shape, encoder=digest, model=ENCODER) as written:
            written[:] = vectors
    with made.stage("train") as stage:
        model_file.write(model or factors(), stage.output("model.safetensors"), provenance={"encoder": digest})
    with made.stage("evaluate") as stage:
        outputs.write_json(stage.output("metrics.json"), {"models": {"candidate": FIGURES}, "n_users": N_USERS})
    digests = {"model": outputs.sha256(Path("data/train/model.safetensors")), "tail": "0" * 64}
    judged = {"verdict": verdict, "reason": "every rule passes", "rules": [], "digests": digests}
    with made.stage("gate") as stage:
        outputs.write_json(stage.output("verdict.json"), judged)
    return judged


def title(i: int) -> str:
    """A title that a page must not take for markup."""
    return f"Title {i} «ü» <img src=x onerror=alert(1)> &amp;"


def name_encoder() -> None:
    """Write the encoder, and its name into params.yaml of the current folder."""
    small_encoder.write(Path(ENCODER), [*WORDS, "a", "story"])
    path = Path("params.yaml")
    path.write_text(edited(path.read_text("utf-8"), ["embed", "model"], ENCODER), "utf-8")


def items_table() -> pa.Table:
    idx = np.arange(N_ITEMS, dtype=np.int32)
    return pa.table(
        {
            "item_idx": idx,
            "item_id": ITEM_IDS,
            "title": [title(i) for i in range(N_ITEMS)],
            "text": TEXTS,
            "genre": [["tale|rhyme", "tale", "rhyme"][i % 3] for i in idx],
            "year": [2000 + i % 2 for i in idx],
            "popularity": np.maximum(N_ITEMS - 4 - idx, 0).astype(np.int32),
            "is_head": idx < len(HEAD),
            "is_tail": idx >= len(HEAD),
            "is_cold": idx >= COLD.start,
        }
    )
