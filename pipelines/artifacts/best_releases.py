"""Best releases in champion.json, by the figures that rules compare with them.

A figure is a metric, or one `of` a slice. Its best release is a model of its own in the evaluation, called by
its version, unless it is the champion's model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Record = Mapping[str, Any]
IDENTITY = ("model_sha256", "items_sha256")


def models(champion: Record) -> dict[str, str]:
    """Return the name of the best release's model, by figure; empty if no version serves."""
    best: Mapping[str, Record] = champion.get("best", {})
    return {figure: "champion" if same(release, champion) else name(release) for figure, release in best.items()}


def others(champion: Record) -> dict[str, Record]:
    """Return the best releases by the name of their model, without the champion."""
    best: Mapping[str, Record] = champion.get("best", {})
    return {name(release): release for release in best.values() if not same(release, champion)}


def same(release: Record, champion: Record) -> bool:
    """Return whether a release has the champion's model over the same items, as a re-released one does."""
    return all(release[key] == champion.get(key, release[key]) for key in IDENTITY)  # old records lack the items


def name(release: Record) -> str:
    return f"best {release['version']}"


def prefix(release: Record) -> str:
    """Return the prefix of its file names in data/champion; empty for the champion."""
    return f"{release['version']}-"


def words(champion: Record) -> str:
    """Return the best releases as part of a sentence; empty if there are none."""
    found: dict[tuple[str, str], list[str]] = {}
    for figure, release in champion.get("best", {}).items():
        version = f"{release['version']}{' (the champion)' if same(release, champion) else ''}"
        found.setdefault((version, release["since"]), []).append(figure)
    return "; ".join(f"{version} by {', '.join(by)} since {since}" for (version, since), by in found.items())
