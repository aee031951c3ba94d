"""The best releases in champion.json, by the figures that rules compare with them.

A figure is a metric, or one `of` a slice. Its best release is a model of its own in the evaluation, called by
its version, unless it is the champion's model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Record = Mapping[str, Any]
IDENTITY = ("model_sha256", "items_sha256")


def models(champion: Record) -> dict[str, str]:
    """Name of the model that is the best release, by figure; empty where nothing serves."""
    best: Mapping[str, Record] = champion.get("best", {})
    return {figure: "champion" if same(release, champion) else name(release) for figure, release in best.items()}


def others(champion: Record) -> dict[str, Record]:
    """Best releases by the name of their model, without the champion."""
    best: Mapping[str, Record] = champion.get("best", {})
    return {name(release): release for release in best.values() if not same(release, champion)}


def same(release: Record, champion: Record) -> bool:
    """Tell whether a release has the champion's model over the same items, as one that was released again has."""
    return all(release[key] == champion.get(key, release[key]) for key in IDENTITY)  # old records name no items


def name(release: Record) -> str:
    return f"best {release['version']}"


def prefix(release: Record) -> str:
    """Start of the names of its files in data/champion; those of the champion have none."""
    return f"{release['version']}-"


def words(champion: Record) -> str:
    """Which releases are the best ones, in a sentence part; empty where none is."""
    found: dict[tuple[str, str], list[str]] = {}
    for figure, release in champion.get("best", {}).items():
        version = f"{release['version']}{' (the champion)' if same(release, champion) else ''}"
        found.setdefault((version, release["since"]), []).append(figure)
    return "; ".join(f"{version} by {', '.join(by)} since {since}" for (version, since), by in found.items())
