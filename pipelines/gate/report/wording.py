"""Text that Markdown takes for nothing else, and sentences that both reports share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipelines.privacy.shown import visible

Record = Mapping[str, Any]


def cell(text: str) -> str:
    """Text in which Markdown finds no table, link, image, address, emphasis, code or HTML."""
    text = visible(" ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")
    text = re.sub(r"(://|[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", text)  # an _ inside a word is one
    return re.sub(r"(?i)\bwww\.", r"www\\.", text)


def plain(text: str) -> str:
    """Text without any markup."""
    return cell(text).replace(r"\_", "_").replace("_", r"\_")


def code(lines: list[str]) -> list[str]:
    return [f"    {visible(' '.join(line.splitlines()))}" for line in lines]


def tail_words(holdout: Record) -> str:
    """How the tail was defined for this holdout."""
    return (
        f"{holdout['n_tail']:,} of {holdout['n_items']:,} items, all but the most popular ones that together hold "
        f"{holdout['head_share']:.0%} of the train interactions; {holdout['n_cold']:,} of them have none"
    )


def split_words(holdout: Record, verdict: Record) -> str:
    """How many events and users there are, and how many of the users are judged."""
    return (
        f"by {holdout['strategy']}, {holdout['n_train']:,} train, {holdout['n_valid']:,} valid (on which settings are "
        f"chosen) and {holdout['n_test']:,} test events; {holdout['n_users']:,} users have train events, "
        f"{verdict['n_users']:,} of them the test events on which models are judged"
    )
