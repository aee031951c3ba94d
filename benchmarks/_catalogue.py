"""A synthetic model of any size with vectors like those of ALS: topics, a power law, users of a few topics."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models.inference.factors import Factors
from models.inference.reranking import Rerank
from models.inference.text_neighbours import Neighbours
from models.inference.user_side import LeastSquares
from pipelines.artifacts import checkpoint, model_file, outputs
from pipelines.package import cells, contents
from pipelines.package import encoder as packed_encoder
from pipelines.package import stage as package
from pipelines.settings.document import load
from pipelines.settings.embed import Embed

TEXT = 384  # length of text vectors
TOPICS, PICKS, NOISE = 300, 30, 0.6  # topics of the catalogue; items per history; distance of items from their topic
ENCODER = {"reason": "the model is made up"}


def spoken(n: int, topic: npt.NDArray[np.int64], *, rng: np.random.Generator) -> Neighbours:
    """Return text vectors of the n most popular items, by topic as well."""
    centres = rng.normal(size=(TOPICS, TEXT)).astype(np.float32)
    texts = centres[topic[:n]] + NOISE * rng.normal(size=(n, TEXT)).astype(np.float32)
    return Neighbours.of(np.arange(n), texts / np.linalg.norm(texts, axis=1, keepdims=True))


def factors(n: int, d: int, *, rng: np.random.Generator) -> tuple[Factors, npt.NDArray[np.int64]]:
    """Return a model of n items, the most popular first, and the items' topics (n,)."""
    topic = rng.integers(0, TOPICS, n)
    centres = rng.normal(size=(TOPICS, d)).astype(np.float32)
    vectors = centres[topic] + NOISE * rng.normal(size=(n, d)).astype(np.float32)
    length = (np.arange(n) + 20.0) ** -0.15  # of the factors of popular items
    vectors *= (length / np.linalg.norm(vectors, axis=1))[:, None].astype(np.float32)
    popularity = np.log1p(1e6 / (np.arange(n) + 10.0)).astype(np.float32)
    popularity /= popularity.max()
    is_tail = np.arange(n) >= n // 20
    side = LeastSquares(d, unobserved_weight=0.1, regularization=0.05, frequency_exponent=1.0)
    rerank = Rerank("slots", 0.85, is_tail, rng.exponential(3, n).astype(np.float32) * is_tail)
    nothing = np.zeros(0, np.float32)
    model = Factors(
        vectors, vectors.T @ vectors, n, (side,), popularity, nothing, np.zeros((1, d), np.float32), rerank=rerank
    )
    return model.in_eigenbasis(), topic


def users(n_users: int, topic: npt.NDArray[np.int64], *, rng: np.random.Generator) -> contents.Users:
    """Return histories of popular items, most of them of three topics."""
    n = len(topic)
    own = rng.integers(0, TOPICS, (n_users, 3))
    by_topic = np.argsort(topic, kind="stable")
    ends = np.cumsum(np.bincount(topic, minlength=TOPICS))
    sizes = np.diff(ends, prepend=0)
    chosen = own[np.arange(n_users)[:, None], rng.integers(0, 3, (n_users, PICKS))]
    rank = (sizes[chosen] * rng.random((n_users, PICKS)) ** 2.5).astype(np.int64)
    items = by_topic[(ends - sizes)[chosen] + np.minimum(rank, np.maximum(sizes[chosen] - 1, 0))]
    items = np.sort(np.minimum(items, n - 1), axis=1)
    first = np.ones_like(items, np.bool_)
    first[:, 1:] = items[:, 1:] != items[:, :-1]
    offsets = np.concatenate([[0], np.cumsum(first.sum(axis=1))]).astype(np.int64)
    return contents.Users([f"{u:08d}" for u in range(n_users)], offsets, items[first].astype(np.int32))


def write(folder: Path, n: int, d: int, n_users: int, *, in_cells: bool, texts: int = 0) -> str:
    """Write a folder for the service, as the package stage does; return a sentence about the search.

    texts: number of items with texts, for free-text queries.
    """
    rng = np.random.default_rng(0)
    model, topic = factors(n, d, rng=rng)
    if texts:
        nothing, weights = np.zeros(TEXT, np.float32), np.zeros((TEXT + 1, d), np.float32)
        model = replace(model, neighbours=spoken(texts, topic, rng=rng), text_mean=nothing, text_weights=weights)
    histories = users(n_users, topic, rng=rng)
    package.copy_code(folder)
    packed = folder / package.PACKED
    packed.mkdir()
    model_file.write(model, packed / "model.safetensors", provenance={})
    assert model.rerank is not None
    contents.write_items(table(model.rerank.is_tail), packed / "items.safetensors")
    histories.write(packed / "users.safetensors")
    search, _ = cells.write_cells(model, histories, packed / "cells.safetensors", large=0 if in_cells else n * d)
    about: dict[str, Any] = {"verdict": "PROMOTE", "reason": "made up", "digests": {}, "figures": {}, "tail": ""}
    about |= {"search": search, "encoder": ENCODER, "tag": "longtail:made-up"}
    if texts:
        sample = packed_encoder.Sample([], [], np.zeros((0, TEXT), np.float32))
        encoder = checkpoint.find(load(Embed, package.CHECKOUT / "params.yaml"))
        about["encoder"] = packed_encoder.write(model, encoder, packed / "encoder", sample)
    outputs.write_json(packed / "release.json", about | {"files": package.digests(folder)})
    users_of(folder).write_text(json.dumps(histories.user_id[:: max(1, n_users // 10_000)]))
    return search


def users_of(folder: Path) -> Path:
    """Return the path of user ids for requests, outside the folder, since the service rejects additional files."""
    return folder.with_name("users.json")


def table(is_tail: npt.NDArray[np.bool_]) -> pa.Table:
    n = len(is_tail)
    ids = [f"item-{i:07d}" for i in range(n)]
    columns: dict[str, Any] = {
        "item_id": ids,
        "title": [f"The made-up title of number {i}" for i in range(n)],
        "popularity": (1e6 / (np.arange(n) + 10.0)).astype(np.int64),
        "is_tail": is_tail,
        "is_cold": np.zeros(n, np.bool_),
    }
    return pa.table(columns)
