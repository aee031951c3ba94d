"""Continuity of a release: items, users and source of the data that the champion was trained on, and those of now.

Candidate and champion are judged on the users and items of now, so no rule sees what is gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

DEMO = "demo"  # a source of generated data


@dataclass(frozen=True)
class Limits:
    """Largest shares that may be lost, and the champion whose losses a person has accepted."""

    max_lost_items: float
    max_lost_users: float
    accept_shrink: str | None = None


@dataclass(frozen=True)
class Change:
    """A difference from the champion's data; lost: share of what it had, None for a source."""

    what: Literal["source", "items", "users"]
    before: str | int
    now: str | int
    lost: float | None
    exceeds: bool  # the limits
    accepted: bool  # by a person, where it exceeds them
    text: str

    @property
    def holds(self) -> bool:
        """Return whether the change holds the candidate back."""
        return self.exceeds and not self.accepted


def changes(facts: Mapping[str, Any] | None, version: str | None, limits: Limits) -> list[Change]:
    """Return the differences from the champion `version`; none without a champion.

    facts: `source`, `items` and `users`, each with `before` and `now`, and items with `lost`: how many of the items
    before are gone. A value that an early release did not record is None, and cannot be compared.
    """
    if facts is None or version is None:
        return []
    accepts = limits.accept_shrink == version
    source, items, users = facts["source"], facts["items"], facts["users"]
    found = []
    if None not in (before := source["before"], now := source["now"]) and before != now:
        text = f"the source of the data is {now} instead of {before}"
        if now == DEMO:
            text += ", and the demo never replaces other data"
        found.append(Change("source", before, now, None, True, accepts and now != DEMO, text))
    if items["before"] and items["lost"]:
        share, limit = items["lost"] / items["before"], limits.max_lost_items
        text = f"{items['lost']:,} of {items['before']:,} items are gone ({bounded(share, limit)})"
        found.append(exceeding("items", items, share, limit, accepts, text))
    if users["before"] and users["now"] < users["before"]:
        share, limit = (users["before"] - users["now"]) / users["before"], limits.max_lost_users
        text = f"{users['now']:,} users instead of {users['before']:,} (fewer by {bounded(share, limit)})"
        found.append(exceeding("users", users, share, limit, accepts, text))
    return found


def exceeding(
    what: Literal["items", "users"], sizes: Mapping[str, int], share: float, limit: float, accepts: bool, text: str
) -> Change:
    exceeds = share > limit
    return Change(what, sizes["before"], sizes["now"], share, exceeds, exceeds and accepts, text)


def bounded(lost: float, limit: float) -> str:
    return f"{lost:.1%}, at most {limit:.0%} allowed".replace("%", " %")


def reason(found: Sequence[Change], version: str | None) -> str | None:
    """Return why the changes hold a candidate back, as a sentence; None if they do not."""
    holding = [change for change in found if change.holds]
    if not holding:
        return None
    remedy = f"If that is meant, set gate.accept_shrink to {version} and judge again."
    if any(change.now == DEMO for change in holding):
        remedy = "To serve the demo, release it under a name of its own (champion.name)."
    return f"Compared with what {version} serves, {'; '.join(change.text for change in holding)}. {remedy}"
