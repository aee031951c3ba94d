"""Tokenize texts: any value of a table is converted to text first, and truncation is explicit, never inherited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def clean(value: object) -> str:
    """Return a valid text for any tokenizer: empty for None and NaN, bytes as UTF-8, no lone surrogates."""
    if value is None or value != value:  # NaN: a missing text in tables
        return ""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.encode("utf-8", "replace").decode("utf-8")


def tokenize(tokenizer: Any, texts: Sequence[str], *, max_length: int) -> list[list[int]]:
    """Return the token ids of each text, cut at `max_length`; empty for a text with only special tokens.

    tokenizer: of the tokenizers library; its own settings of truncation and padding are replaced.
    """
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    added = tokenizer.num_special_tokens_to_add(is_pair=False)
    encoded = tokenizer.encode_batch_fast([clean(text) for text in texts])
    return [encoding.ids if len(encoding.ids) > added else [] for encoding in encoded]
