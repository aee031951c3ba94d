"""Search in cells for the Bento of a large catalogue: only if it finds the same items as the full search."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from models.inference.candidates import of_scores
from models.inference.cells import Cells
from models.inference.factors import Factors
from models.inference.reranking import none, rerank
from models.packaging.cell_building import build
from pipelines.package.contents import Users

LARGE = 2**22  # numbers in the item vectors: up to this the full search takes a millisecond at most
RECALL, K = 0.99, 10
N_USERS = 200  # users for the measurement of recall
SHARES = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3)  # of the catalogue; more would save too little


def write_cells(model: Factors, users: Users, path: Path, *, large: int = LARGE) -> tuple[str, Cells | None]:
    """Write the cells if the catalogue is large and a share of it suffices; return a sentence, and the cells."""
    n, d = model.item_factors.shape
    if n * d <= large:
        return f"flat: all {n:,} items are looked at", None
    rng = np.random.default_rng(0)
    cells = build(model.item_factors, n_cells=int(2 * n**0.5), seed=0)
    histories = [
        users.history(row) for row in rng.choice(len(users.user_id), min(N_USERS, len(users.user_id)), replace=False)
    ]
    for share in SHARES:
        cells = replace(cells, share=share)
        found = recall(model, cells, histories)
        if found >= RECALL:
            arrays: dict[str, Any] = {"centres": cells.centres, "ends": cells.ends, "items": cells.items}
            save_file(arrays, path, metadata={"share": str(share)})
            sentence = f"cells: {share:.1%} of {n:,} items are looked at, recall@{K} {found:.4f} of the full search"
            return sentence, cells
    return f"flat: no share of {n:,} items up to {SHARES[-1]:.0%} had recall@{K} {RECALL}", None


def recall(model: Factors, cells: Cells, histories: list[npt.NDArray[np.int32]]) -> float:
    """Return the share of the judged lists' items that are in the lists from cells, mean over users."""
    how = model.rerank or none(np.zeros(len(model.item_factors), np.bool_))
    shares = []
    for history in histories:
        user = model.fold_in([history])
        scores = model.item_factors @ user[0] + model.cold_bonus(user)[0] * model.anchored
        scores[history] = -np.inf
        scanned = cells.scanned(user[0], scores, wanted=K + len(history))
        lists = [
            rerank(how, of_scores(each.astype(np.float32), how.is_tail, k=K), how.tail_share(history), k=K)[0]
            for each in (scores, scanned)
        ]
        shares.append(np.isin(*lists).mean())
    return float(np.mean(shares))
