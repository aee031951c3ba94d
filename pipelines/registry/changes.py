"""Changes since the champion was released: data, split, settings and code, from its release commit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ruamel.yaml import YAML

from pipelines.registry import version_files
from pipelines.registry.digests import digests, judging
from pipelines.settings import document
from pipelines.workspace import git

Record = Mapping[str, Any]
SIZES = {"n_train": "train events", "n_users": "users", "n_items": "items"}  # of holdout.json, recorded by releases
SHOWN = 12  # settings or files that are listed


def since(champion: Record, holdout: Record) -> dict[str, list[str]] | None:
    """Return lines by subject, [] if nothing changed; None without a champion.

    champion: champion.json, holdout: holdout.json.
    """
    if champion["commit"] is None:
        return None
    release, now = version_files.document(champion["version"], champion["commit"]), digests()
    other = {name: release["digests"].get(name) != now[name] for name in now}
    return {
        "data": list(data(release.get("sizes") or {}, holdout)) if other["data"] else [],
        "split": list(split(champion.get("split"), holdout)) if other["split"] or other["tail"] else [],
        "settings": brief(list(settings(champion["commit"]))) if other["params"] else [],
        "code": brief(files(champion["commit"])) if other["code"] else [],
    }


def data(before: Mapping[str, int], holdout: Record) -> Iterator[str]:
    """Yield the sizes before and now that differ; old releases have no record of them."""
    changed = [(key, n) for key, n in before.items() if n != holdout[key]]
    yield from (f"{n:,} → {holdout[key]:,} {SIZES[key]}" for key, n in changed)
    if not changed:
        yield "other interactions or items"


def split(before: Record | None, holdout: Record) -> Iterator[str]:
    """Yield the differences of the holdout."""
    changed = [(key, before[key], holdout[key]) for key in before if before[key] != holdout[key]] if before else []
    yield from (f"{key}: {worded(was)} → {worded(value)}" for key, was, value in changed)
    if not changed:
        yield "other test pairs or tail items, drawn in the same way"


def settings(commit: str) -> Iterator[str]:
    """Yield `section.key: before → now` for every setting that differs."""
    before = document.flat(YAML(typ="safe").load(git.read_file(commit, "params.yaml")) or {})
    now = document.flat(document.read())
    for key in sorted(before.keys() | now.keys()):
        was, value = before.get(key, "absent"), now.get(key, "absent")
        if was != value:
            yield f"{key}: {worded(was)} → {worded(value)}"


def worded(value: Any) -> str:
    if isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
        return ", ".join(str(each.get("name", each)) if isinstance(each, Mapping) else str(each) for each in value)
    if isinstance(value, list):
        return ", ".join(map(worded, value)) or "none"
    if isinstance(value, str):
        return re.sub(r"^(\d{4}-\d\d-\d\d)T00:00:00(\.0+)?\+00:00$", r"\1", value)
    return "none" if value is None else str(value)


def files(commit: str) -> list[str]:
    """Return the judging code that differs from that of a commit, new files included, committed or not."""
    edited = git.git("diff", "--name-only", commit, "--", *judging()).splitlines()
    new = git.git("ls-files", "--others", "--exclude-standard", "--", *judging()).splitlines()
    return sorted({*edited, *new})


def brief(lines: list[str]) -> list[str]:
    """Return the first ones, and the number of the others."""
    return lines if len(lines) <= SHOWN else [*lines[:SHOWN], f"and {len(lines) - SHOWN} more"]
