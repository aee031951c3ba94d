"""Sentences used in both reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Record = Mapping[str, Any]


def tail_words(holdout: Record) -> str:
    """Return the definition of the tail for this holdout."""
    return (
        f"{holdout['n_tail']:,} of {holdout['n_items']:,} items, all but the most popular ones that together hold "
        f"{holdout['head_share']:.0%} of the train interactions; {holdout['n_cold']:,} of them have none"
    )


def split_words(holdout: Record, verdict: Record) -> str:
    """Return the numbers of events, users and judged users."""
    return (
        f"by {holdout['strategy']}, {holdout['n_train']:,} train, {holdout['n_valid']:,} valid (on which settings are "
        f"chosen) and {holdout['n_test']:,} test events; {holdout['n_users']:,} users have train events, "
        f"{verdict['n_users']:,} of them the test events on which models are judged"
    )
