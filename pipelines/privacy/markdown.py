"""Text in Markdown that stays text: names and reasons that others wrote become no link, image or HTML."""

from __future__ import annotations

import re

from pipelines.privacy.shown import visible


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
