"""Inputs of evaluate and gate, made by hand: a catalogue of two genres, users who like one, models that know it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.numpy import save_file

from models.inference.factors import Factors
from models.inference.user_side import Floats, LeastSquares
from pipelines.artifacts import model_file, outputs, tables
from tests import made

N_USERS, N_ITEMS = 480, 48
GENRE = np.arange(N_ITEMS) % 2  # of items; users like the genre of their own parity
HEAD, COLD = 8, 4  # the first items are head, the last ones have no interactions
HASHES = {"tail_sha256": "a" * 64, "holdout_sha256": "b" * 64}
SPLIT = {"strategy": "hash", "cutoffs": None, "seed": 0, "test": 0.1, "cold_items": 0.0, "user_space": None}
ENCODER = "e" * 64
FIGURES = ("ndcg@10", "tail_recall@20", "tail_coverage@10")  # that the policy of params.yaml compares with the best
COUNT = {"read": 5300, "accepted": 5280, "rejected": 20, "reasons": {"empty_item_id": 5, "unknown_item": 15}}
INGESTED: dict[str, Any] = {
    "source": "table",
    "n_pairs": 5280,
    "n_users": N_USERS,
    "n_items": N_ITEMS,
    "interactions": COUNT,
}
WARNING: dict[str, Any] = {
    "table": "items",
    "code": "same_text",
    "name": "at most 50% of the texts repeat another's words",
    "success": False,
    "found": "59 of 60 rows, 98.3%",
    "remedy": "add columns to ingest.table.text",
}
VALIDATED: dict[str, Any] = {"n_expectations": 27, "n_warnings": 1, "n_quarantined": 3, "expectations": [WARNING]}
PARETO = [
    {
        "method": "none",
        "strength": 0.0,
        "valid_ndcg": 0.3,
        "valid_tail_ndcg": 0.02,
        "valid_tail_coverage": 0.1,
        "chosen": 0,
    },
    {
        "method": "slots",
        "strength": 0.5,
        "valid_ndcg": 0.29,
        "valid_tail_ndcg": 0.03,
        "valid_tail_coverage": 0.3,
        "chosen": 1,
    },
    {
        "method": "slots",
        "strength": 1.0,
        "valid_ndcg": 0.2,
        "valid_tail_ndcg": 0.04,
        "valid_tail_coverage": 0.4,
        "chosen": 0,
    },
]


@dataclass
class Pairs:
    """Interactions of the three parts as (user_idx, item_idx)."""

    train: list[tuple[int, int]] = field(default_factory=list)
    valid: list[tuple[int, int]] = field(default_factory=list)
    test: list[tuple[int, int]] = field(default_factory=list)


def pairs() -> Pairs:
    """Histories with head items of any genre and tail items of the own one; test holds tail and cold items."""
    rng, parts = np.random.default_rng(0), Pairs()
    for user in range(N_USERS):
        own = [i for i in range(HEAD, N_ITEMS - COLD) if GENRE[i] == user % 2]
        tail = rng.permutation(own).tolist()
        head = rng.permutation(HEAD).tolist()
        cold = N_ITEMS - COLD + user % 2
        parts.train += [(user, i) for i in sorted(head[:5] + tail[:6])]
        parts.valid += [(user, tail[6])]
        parts.test += [(user, i) for i in sorted({head[5], *tail[7:10], cold})]
    return parts


def model(*, knowledge: float, seed: int = 1) -> Factors:
    """Factors that know the genre of items (knowledge 1), not at all (0), or the wrong one (-1)."""
    rng = np.random.default_rng(seed)
    item_factors = np.stack([GENRE == 0, GENRE == 1], axis=1).astype(np.float32) * knowledge
    item_factors += rng.normal(scale=0.05, size=item_factors.shape).astype(np.float32)
    warm = np.arange(N_ITEMS) < N_ITEMS - COLD
    return Factors(
        item_factors=item_factors,
        gram=item_factors[warm].T @ item_factors[warm],
        popularity_bias=np.where(np.arange(N_ITEMS) < HEAD, 1.0, 0.3).astype(np.float32),
        text_mean=np.zeros(2, np.float32),
        text_weights=np.array([[1, 0], [0, 1], [0, 0]], np.float32),
        users=(LeastSquares(2, unobserved_weight=0.1, regularization=0.05, frequency_exponent=1.0),),
        n_warm_items=int(warm.sum()),
    )


def write_split(parts: Pairs, **changes: Any) -> None:
    """data/split and data/ingest as their stages would leave them."""
    users_of_item = np.bincount([item for _, item in parts.train], minlength=N_ITEMS)
    is_tail = np.arange(N_ITEMS) >= HEAD
    items = pa.table(
        {
            "item_idx": pa.array(range(N_ITEMS), pa.int32()),
            "item_id": [f"i{i:03}" for i in range(N_ITEMS)],
            "title": [f"Title {i} <i>*é*</i>" if i else "" for i in range(N_ITEMS)],
            "popularity": pa.array(users_of_item, pa.int32()),
            "is_head": ~is_tail,
            "is_tail": is_tail,
            "is_cold": users_of_item == 0,
        }
    )
    counts = {f"n_{part}": len(getattr(parts, part)) for part in ("train", "valid", "test")}
    of_items = {"n_items": N_ITEMS, "n_tail": int(is_tail.sum()), "n_cold": COLD, "n_users": N_USERS}
    description: dict[str, Any] = SPLIT | {"head_share": 0.8, "left_out": {}, "source": "table"}
    with made.stage("ingest") as stage:
        for name in ("interactions.parquet", "items.parquet", "users.parquet"):
            tables.write(items, stage.output(name))
        outputs.write_json(stage.output("summary.json"), INGESTED)
    with made.stage("validate") as stage:
        outputs.write_json(stage.output("report.json"), VALIDATED)
    with made.stage("split") as stage:
        tables.write(items.append_column("genre", pa.array(GENRE.tolist())), stage.output("items.parquet"))
        tables.write(users_table(), stage.output("users.parquet"))
        for part in ("train", "valid", "test"):
            table = np.array(getattr(parts, part), np.int32).reshape(-1, 2)
            columns = {"user_idx": pa.array(table[:, 0]), "item_idx": pa.array(table[:, 1])}
            tables.write(pa.table(columns), stage.output(f"{part}.parquet"))
        outputs.write_json(stage.output("holdout.json"), description | HASHES | counts | of_items | changes)


def users_table() -> pa.Table:
    """One user in five does not say a country; the others take turns between two."""
    countries = [None if u % 5 == 0 else ("DE", "FR")[u % 2] for u in range(N_USERS)]
    idx = pa.array(range(N_USERS), pa.int32())
    return pa.table({"user_idx": idx, "user_id": [f"u{u:03}" for u in range(N_USERS)], "country": countries})


def write_embeddings(encoder: str = ENCODER, *, texts: bool = True) -> None:
    vectors: Floats = np.stack([GENRE == 0, GENRE == 1], axis=1).astype(np.float32) * texts
    with made.stage("embed") as stage:
        header = {"longtail": json.dumps({"encoder": encoder})}
        save_file({"embeddings": vectors}, stage.output("embeddings.safetensors"), metadata=header)


def write_candidate(factors: Factors, **provenance: Any) -> None:
    with made.stage("train") as stage:
        tables.write_csv(stage.output("pareto.csv"), PARETO)
        model_file.write(
            factors, stage.output("model.safetensors"), provenance=HASHES | {"encoder": ENCODER} | provenance
        )


def write_champion(
    factors: Factors | None,
    *,
    version: str = "v1.0.0",
    n_items: int = N_ITEMS,
    split: dict[str, Any] | None = SPLIT,
    best: Mapping[str, Factors] = MappingProxyType({}),
    absent: Mapping[str, str] = MappingProxyType({}),
    data: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """data/champion: none, or a model of the first `n_items` items. data: what is different in champion.json.

    best: the best release, v1.0.0, by figure; that of other figures of the policy is the champion.
    """
    with made.stage("champion") as stage:
        identity: dict[str, Any] = {"version": None, "commit": None, "model_sha256": None, "split": split}
        if factors:
            identity = released(stage, factors, version, n_items, split, prefix="")
            found = dict.fromkeys(FIGURES, identity | {"since": "v1.0.0"})
            for figure, each in best.items():
                older = released(stage, each, "v1.0.0", N_ITEMS, split, prefix="v1.0.0-")
                found[figure] = older | {"since": "v1.0.0"}
            identity = identity | {"best": found, "absent": dict(absent), **data}
        outputs.write_json(stage.output("champion.json"), identity | HASHES)


def released(
    stage: outputs.StageRun,
    factors: Factors,
    version: str,
    n_items: int,
    split: dict[str, Any] | None,
    *,
    prefix: str,
) -> dict[str, Any]:
    """Identity of a release in champion.json, after its files were written."""
    known = replace(
        factors,
        rerank=factors.rerank.over(np.arange(n_items)) if factors.rerank else None,
        item_factors=factors.item_factors[:n_items],
        popularity_bias=factors.popularity_bias[:n_items],
    )
    path, items = stage.output(f"{prefix}model.safetensors"), stage.output(f"{prefix}items.parquet")
    model_file.write(known, path, provenance=HASHES | {"encoder": ENCODER})
    tables.write(pa.table({"item_id": [f"i{i:03}" for i in range(n_items)]}), items)
    hashes = {"model_sha256": outputs.sha256(path), "items_sha256": outputs.sha256(items)}
    data = {"source": "table", "sizes": {"n_users": N_USERS, "n_items": n_items}}
    return {"version": version, "commit": None, "split": split} | data | hashes


def write_all(candidate: Factors, champion: Factors | None = None, parts: Pairs | None = None) -> None:
    """Everything that evaluate and gate read from the stages before."""
    write_split(parts or pairs())
    write_embeddings()
    write_candidate(candidate)
    write_champion(champion)
