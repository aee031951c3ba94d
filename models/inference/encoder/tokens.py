"""Texts to token ids: whatever a table holds is made a text first, and truncation is said, never inherited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def clean(value: object) -> str:
    """A text that every tokenizer takes: nothing for None and NaN, bytes as UTF-8, no halves of surrogate pairs."""
    if value is None or value != value:  # NaN is how tables say that a text is missing
        return ""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.encode("utf-8", "replace").decode("utf-8")


def tokenize(tokenizer: Any, texts: Sequence[str], *, max_length: int) -> list[list[int]]:
    """Token ids of each text, cut at `max_length`; none at all where a text has no token of its own.

    tokenizer: of the tokenizers library; its own settings of truncation and padding are replaced.
    """
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    added = tokenizer.num_special_tokens_to_add(is_pair=False)
    encoded = tokenizer.encode_batch_fast([clean(text) for text in texts])
    return [encoding.ids if len(encoding.ids) > added else [] for encoding in encoded]
