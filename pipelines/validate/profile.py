"""`.longtail/profiles/<layout>.json`: profiles of good versions of the tables, to compare later versions with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pipelines.artifacts import outputs
from pipelines.runtime.engine import Tables
from pipelines.workspace import git

KEPT = 20  # versions

# Common to DuckDB and Spark. One row; the head is the top hundredth of items with interactions.
PROFILE = """
    select (select count(*) from interactions) as interactions,
           (select count(*) from of_users) as users,
           (select count(*) from of_items) as items,
           (select max(n) from of_users) as heavy_user,
           (select coalesce(median(n), 0) from (
              select count(*) as n from interactions where timestamp is not null
              group by date_trunc('day', timestamp))) as per_day,
           (select sum(n) filter (where place <= greatest(1, n_items / 100)) / sum(n) from (
              select n, row_number() over (order by n desc, item_id) as place, count(*) over () as n_items
              from of_items)) as head,
           (select coalesce(avg(case when is_foreign(text) then 1 else 0 end), 0)
            from items where text <> '') as script
"""
# Histogram of values, two bins per doubling; 1e-9 absorbs differences of logarithms in the last digit.
SIZES = """
    select cast(floor(2 * log2(value) + 1e-9) as double) as size, count(*) as n
    from interactions where value > 0 and value <= 3.4028234663852886e38
    group by cast(floor(2 * log2(value) + 1e-9) as double)
"""
VIEWS = {
    "of_users": "select user_id, count(*) as n from interactions group by user_id",
    "of_items": "select item_id, count(*) as n from interactions group by item_id",
}


def of(engine: Tables) -> dict[str, Any]:
    """Return the profile of the views `interactions` and `items`."""
    for name, query in VIEWS.items():
        engine.view(name, query)
    profile: dict[str, Any] = engine.table(PROFILE).to_pylist()[0]
    return profile | {"sizes": {str(size): n for size, n in sorted(engine.rows(SIZES))}}


def path_of(columns: list[str]) -> Path:
    """Return the path of profiles for tables with these item columns: other columns mean another source."""
    name = hashlib.sha256("\n".join(columns).encode()).hexdigest()[:16]
    return git.state_folder() / "profiles" / f"{name}.json"


def former(path: Path, data: str) -> dict[str, Any] | None:
    """Return the profile of the last good version before this data (its sha256), or None."""
    versions = read(path)
    places = [place for place, version in enumerate(versions) if version["data"] == data]
    before = versions[: places[0]] if places else versions
    return before[-1] if before else None


def remember(path: Path, data: str, profile: dict[str, Any]) -> None:
    """Add a good version; a known one keeps its position."""
    versions = read(path)
    if any(version["data"] == data for version in versions):
        return
    with outputs.written(path) as partial:
        outputs.write_json(partial, [*versions, {"data": data, **profile}][-KEPT:])


def read(path: Path) -> list[dict[str, Any]]:
    """Return the known versions; a damaged file counts as empty."""
    try:
        versions: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return []
    return versions


def beside(now: dict[str, Any], before: dict[str, Any]) -> dict[str, float]:
    """Compare a version with an earlier one: growth as a factor, shares as a difference."""

    def growth(key: str) -> float:
        return float(now[key] / before[key]) if before[key] else 1.0

    return {
        **{key: growth(key) for key in ("interactions", "users", "items", "per_day", "heavy_user")},
        "head": now["head"] - before["head"],
        "values": moved(now["sizes"], before["sizes"]),
        "script": abs(now["script"] - before["script"]),
    }


def moved(now: dict[str, int], before: dict[str, int]) -> float:
    """Return the total variation distance of two histograms: the share of values that moved."""
    n_now, n_before = sum(now.values()), sum(before.values())
    sizes = now.keys() | before.keys()
    return sum(abs(now.get(size, 0) / n_now - before.get(size, 0) / n_before) for size in sizes) / 2


def query(row: dict[str, float]) -> str:
    """Return the SQL of one row."""
    return "select " + ", ".join(f"cast({value!r} as double) as {name}" for name, value in row.items())
