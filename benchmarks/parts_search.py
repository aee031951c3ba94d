"""Search in cells as in a Bento, beside faiss's IndexIVFFlat with as many cells and the same share of scanned items."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from benchmarks import _catalogue
from benchmarks._rounds import medians
from bento.model.index import Index
from models.inference.candidates import OVERALL, TAIL, Candidates, best, join
from models.inference.cells import Floats
from models.packaging.cell_building import build

ITEMS, DIMENSIONS, SHARES = (100_000, 1_000_000), (64, 256), (0.005, 0.02, 0.05)
K, CROWD, ROUNDS, SEED = 10, 200, 5, 0
SWIG: Any = faiss  # its type stubs lack the methods of its Python layer
Indices = npt.NDArray[np.int64]
Histories = Sequence[npt.NDArray[np.int32]]


class Peer:
    """An index of faiss with its default clustering, asked for the candidates that a Bento needs."""

    def __init__(self, vectors: Floats, is_tail: npt.NDArray[np.bool_], *, n_cells: int) -> None:
        d = vectors.shape[1]
        self.ivf = SWIG.IndexIVFFlat(SWIG.IndexFlatIP(d), d, n_cells, SWIG.METRIC_INNER_PRODUCT)
        self.ivf.train(vectors)
        self.ivf.add(vectors)
        self.tail = SWIG.IDSelectorBitmap(np.packbits(is_tail, bitorder="little"))

    def scanned(self, users: Floats) -> Floats:
        """Return the mean number of items (c,) that the first 1, 2, ... cells of a query hold."""
        sizes = np.array([self.ivf.invlists.list_size(c) for c in range(self.ivf.nlist)])
        order = self.ivf.quantizer.search(users, self.ivf.nlist)[1]
        return np.asarray(sizes[order].mean(axis=0).cumsum(), np.float32)

    def best(self, users: Floats, k: int, *, probes: int) -> tuple[Indices, Floats]:
        """Return the best items (b, k) of users (b, d), and their scores."""
        scores, items = self.ivf.search(users, k, params=SWIG.SearchParametersIVF(nprobe=probes))
        return items, scores

    def candidates(self, users: Floats, seen: Histories, *, probes: int) -> list[Candidates]:
        """Return the candidates of users (b, d): seen items are searched for as well, then removed."""
        more = max(map(len, seen))
        of_tail = SWIG.SearchParametersIVF(nprobe=probes, sel=self.tail)
        scores, items = self.ivf.search(users, OVERALL + more, params=SWIG.SearchParametersIVF(nprobe=probes))
        tail_scores, tail_items = self.ivf.search(users, TAIL + more, params=of_tail)
        each = zip(seen, items, scores, tail_items, tail_scores, strict=True)
        return [join(*without(s, i, v, OVERALL), *without(s, j, w, TAIL)) for s, i, v, j, w in each]


def without(seen: npt.NDArray[np.int32], items: Indices, scores: Floats, k: int) -> tuple[Indices, Floats]:
    """Return the first k items (1, k) that were not seen, and their scores, padded with -1 and -inf."""
    kept = np.flatnonzero((items >= 0) & ~np.isin(items, seen))[:k]
    found, values = np.full((1, k), -1, np.int64), np.full((1, k), -np.inf, np.float32)
    found[0, : len(kept)], values[0, : len(kept)] = items[kept], scores[kept]
    return found, values


def rows(sizes: Sequence[int] = ITEMS) -> Iterator[dict[str, Any]]:
    """Yield a row per catalogue and share: recall, and how many times as fast as faiss the search in cells is."""
    SWIG.omp_set_num_threads(1)
    for n in sizes:
        for d in DIMENSIONS:
            yield from catalogue(n, d)


def catalogue(n: int, d: int) -> Iterator[dict[str, Any]]:
    """Yield a row per share for a made-up model of n items."""
    rng = np.random.default_rng(SEED)
    model, topic = _catalogue.factors(n, d, rng=rng)
    vectors, crowd = np.ascontiguousarray(model.item_factors), _catalogue.users(CROWD, topic, rng=rng)
    seen = [crowd.history(row) for row in range(CROWD)]
    users = np.ascontiguousarray(model.fold_in(seen), np.float32)
    assert model.rerank is not None
    is_tail, n_cells = model.rerank.is_tail, int(2 * n**0.5)
    cells, building = clocked(lambda: build(vectors, n_cells=n_cells, seed=SEED))
    peer, peer_building = clocked(lambda: Peer(vectors, is_tail, n_cells=n_cells))
    curve, exact = peer.scanned(users), [top(vectors @ user, hidden) for user, hidden in zip(users, seen, strict=True)]
    # besides the vectors themselves, which both keep in memory in order of their cells
    lists = {"index_mb": round((cells.centres.nbytes + cells.ends.nbytes + cells.items.nbytes) / 1e6, 2)}
    lists |= {"faiss_mb": round((len(SWIG.serialize_index(peer.ivf)) - vectors.nbytes) / 1e6, 2)}
    for share in SHARES:
        index = Index(model, is_tail, replace(cells, share=share))
        own = float(np.mean([scanned(index, user, hidden) for user, hidden in zip(users, seen, strict=True)]))
        probes = int(np.abs(curve - own).argmin()) + 1
        found = index.batch(users, np.zeros(CROWD), seen, k=K)
        seconds = medians(ways(index, peer, users, seen, probes), rounds=ROUNDS)
        yield {
            "items": n, "d": d, "cells": n_cells, "share": share,
            "scanned": round(own / n, 4), "faiss_scanned": round(float(curve[probes - 1]) / n, 4),
            f"recall@{K}": recall(exact, found),
            "faiss_recall": recall(exact, peer.candidates(users, seen, probes=probes)),
            "ms": round(1e3 * seconds["candidates"] / CROWD, 3), "gain": gain(seconds, "candidates"),
            "gain_batch": gain(seconds, "batch"), "gain_best": gain(seconds, "best"),
            "build_s": round(building, 1), "gain_build": round(peer_building / building, 2),
        } | lists  # fmt: skip


def ways(index: Index, peer: Peer, users: Floats, seen: Histories, probes: int) -> dict[str, Callable[[], object]]:
    """Return what is timed: candidates of one user at a time, of all at once, and the best items without a filter."""
    nothing, one = np.zeros(CROWD), [users[row : row + 1] for row in range(CROWD)]
    return {
        "candidates": lambda: [index.candidates(u, 0.0, s, k=K) for u, s in zip(users, seen, strict=True)],
        "faiss candidates": lambda: [peer.candidates(u, [s], probes=probes) for u, s in zip(one, seen, strict=True)],
        "batch": lambda: index.batch(users, nothing, seen, k=K),
        "faiss batch": lambda: peer.candidates(users, seen, probes=probes),
        "best": lambda: [best_in_cells(index, user) for user in users],
        "faiss best": lambda: [peer.best(user, OVERALL, probes=probes) for user in one],
    }


def best_in_cells(index: Index, user: Floats) -> tuple[Any, Floats]:
    assert index.cells is not None
    spans = index.cells.spans(user, wanted=OVERALL)
    places, scores = best(np.concatenate([index.in_cells[start:end] @ user for start, end in spans]), OVERALL)
    items = np.concatenate([index.cells.items[start:end] for start, end in spans])
    return items[places], scores


def scanned(index: Index, user: Floats, seen: npt.NDArray[np.int32]) -> int:
    assert index.cells is not None
    return sum(end - start for start, end in index.cells.spans(user, wanted=K + len(seen)))


def top(scores: Floats, seen: npt.NDArray[np.int32]) -> Any:
    scores[seen] = -np.inf
    return best(scores, K)[0][0]


def recall(exact: Sequence[Any], found: Sequence[Candidates]) -> float:
    """Return the share of the best K items of a full search among the best K of the candidates, mean over users."""
    shares = [np.isin(items, each.items[0, :K]).mean() for items, each in zip(exact, found, strict=True)]
    return round(float(np.mean(shares)), 4)


def gain(seconds: dict[str, float], way: str) -> float:
    return round(seconds[f"faiss {way}"] / seconds[way], 2)


def clocked(act: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    done = act()
    return done, time.process_time() - start
