"""The JSON of a Bento's lists, joined from the kept bytes of its items, beside orjson."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson

from benchmarks import _catalogue
from benchmarks._rounds import medians
from bento.api import endpoints
from bento.model import files
from pipelines.package import contents

LENGTHS, N_ITEMS, ROUNDS, CALLS, SEED = (10, 100, 1000), 10_000, 15, 50, 0
TAG = "longtail:made-up"


def rows() -> Iterator[dict[str, Any]]:
    """Yield a row per length of the list and way; `gain`: how many times as fast as this way the Bento's own is."""
    items, rng = catalogue(), np.random.default_rng(SEED)
    for length in LENGTHS:
        listed = rng.choice(N_ITEMS, length, replace=False)
        scores = np.sort(rng.random(length, np.float32))[::-1]
        made = ways(items, listed, scores)
        answers = {name: way() for name, way in made.items()}
        for name, answer in answers.items():
            if not alike(json.loads(answer), json.loads(answers["orjson"])):
                raise ValueError(f"the answer of {length} items by {name} is not that of orjson")
        seconds = medians(made, rounds=ROUNDS, calls=CALLS)
        for name, answer in answers.items():
            yield {
                "items": length, "way": name, "us": round(1e6 * seconds[name], 1),
                "gain": round(seconds[name] / seconds["Bento"], 2), "bytes": len(answer),
            }  # fmt: skip


def catalogue() -> files.Items:
    with TemporaryDirectory() as name:
        root = Path(name)
        (root / files.FOLDER).mkdir()
        is_tail = np.arange(N_ITEMS) >= N_ITEMS // 20
        contents.write_items(_catalogue.table(is_tail), root / files.FOLDER / "items.safetensors")
        return files.Items.read(root)


def ways(items: files.Items, listed: Any, scores: Any) -> dict[str, Callable[[], bytes]]:
    """Return the ways to the same answer: bytes of items kept or made anew, then dictionaries kept or made anew."""
    about = lru_cache(files.CARDS)(lambda i: fields(items, i))
    service: Any = SimpleNamespace(tag=TAG, items=items)
    anew: Any = SimpleNamespace(tag=TAG, items=SimpleNamespace(card=items.render))

    def own(service: Any) -> bytes:
        return endpoints.framed(service, b'"fallback": null, "items": ' + endpoints.cards(service, listed, scores))

    def of(known: Callable[[int], dict[str, Any]], dumps: Callable[[Any], Any]) -> Any:
        pairs = zip(listed.tolist(), scores.tolist(), strict=True)
        return dumps({"model": TAG, "fallback": None, "items": [{**known(i), "score": score} for i, score in pairs]})

    def fresh(i: int) -> dict[str, Any]:
        return fields(items, i)

    return {
        "Bento": lambda: own(service),
        "Bento, items not kept": lambda: own(anew),
        "orjson": lambda: bytes(of(about, orjson.dumps)),
        "orjson, items not kept": lambda: bytes(of(fresh, orjson.dumps)),
        "json": lambda: str(of(about, json.dumps)).encode(),
    }


def fields(items: files.Items, i: int) -> dict[str, Any]:
    return {
        "item_id": items.item_id[i],
        "title": items.title[i],
        "segment": items.segment[i],
        "popularity": int(items.popularity[i]),
    }


def alike(answer: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether answers are equal, their scores to the eight digits that a Bento writes."""
    pairs = list(zip(answer.pop("items"), other.pop("items"), strict=True))
    close = all(math.isclose(a.pop("score"), b.pop("score"), rel_tol=1e-7) for a, b in pairs)
    return close and answer == other and all(a == b for a, b in pairs)
