"""The whole pipeline on real data sets, read as their users have them: judged, not promoted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.clones import Clone

pytestmark = pytest.mark.slow

SMALL: dict[str, dict[str, Any]] = {  # texts cut short, few dimensions and settings: the way through is tested
    "embed": {"max_length": 5},
    "train": {
        "als.embedding_dim": 32, "als.epochs": 8,
        "rerank.popularity": [], "rerank.xquad": [], "rerank.slots": [0.5, 1.0],
    },
}  # fmt: skip
ANIME = {
    "source": "table",
    "table.interactions": ["anime_ratings.dat"],
    "table.delimiter": "\t",
    "table.quote": None,
    "table.columns": {"user_id": "User_ID", "item_id": "Anime_ID", "value": "Feedback", "timestamp": None},
    "table.min_value": 6.0,
    "table.items": ["anime_info.dat"],
    "table.item_columns": {"item_id": "anime_ids", "title": "name"},
    "table.text": "{name}. {genre}. {type}",
}


def judged(clone: Clone, ingest: dict[str, Any]) -> dict[str, Any]:
    """metrics.json after a run on a source."""
    clone.params({**SMALL, "ingest": ingest})
    printed = clone.longtail("run", "--no-promote")
    assert "not promoted, because of --no-promote" in printed
    assert clone.json("data/gate/verdict.json")["verdict"] in ("PROMOTE", "HOLD", "REJECT")
    metrics: dict[str, Any] = clone.json("data/evaluate/metrics.json")
    return metrics


def test_movielens_as_grouplens_distributes_it(tmp_path: Path, shared_data: Path) -> None:
    clone = Clone(tmp_path / "longtail")
    metrics = judged(clone, {"source": "movielens", "path": str(shared_data / "ml-latest-small")})
    counts = clone.json("data/ingest/summary.json")["interactions"]
    assert (counts["read"], counts["accepted"], counts["malformed"]) == (100_836, 48_580, 0)
    assert counts["reasons"] == {"below_min_value": 52_256}
    models = metrics["models"]
    assert models["candidate"]["ndcg@10"] > 1.5 * models["popularity"]["ndcg@10"]


def test_anime_as_a_table_of_ones_own(tmp_path: Path, shared_data: Path) -> None:
    clone = Clone(tmp_path / "longtail")
    metrics = judged(clone, {"path": str(shared_data / "anime"), **ANIME})
    counts = clone.json("data/ingest/summary.json")["interactions"]
    assert counts["read"] == counts["accepted"] + counts["reasons"]["below_min_value"] == 419_943
    models = metrics["models"]
    assert models["candidate"]["ndcg@10"] > 1.5 * models["popularity"]["ndcg@10"]
    assert models["candidate"]["tail_coverage@10"] > models["popularity"]["tail_coverage@10"]
