"""Texts to unit vectors with a transformer: length-sorted batches of bounded size, pooled and normalized."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Pooling = Literal["mean", "cls"]


def encode(
    model: Any, tokenizer: Any, texts: Sequence[str], *, pooling: Pooling, max_length: int, batch_tokens: int
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]]:
    """Yield (rows, vectors): positions in `texts`, (b,), and their unit vectors, float32 (b, t), longest texts first.

    model, tokenizer: a transformers encoder in eval mode and its tokenizer. Texts are cut at `max_length` tokens; a
    batch holds at most `batch_tokens` tokens, padding included, but at least one text.
    """
    device = next(model.parameters()).device
    # set here whatever the tokenizer's own file says about truncation and padding
    encoded = tokenizer(list(texts), truncation=True, max_length=max_length, padding=False)["input_ids"]
    for rows in batches([len(ids) for ids in encoded], batch_tokens):
        ids, mask = pad([encoded[row] for row in rows], fill=tokenizer.pad_token_id or 0)
        with torch.inference_mode():
            hidden = model(input_ids=ids.to(device), attention_mask=mask.to(device)).last_hidden_state  # (b, l, t)
            vectors = torch.nn.functional.normalize(pool(hidden, mask.to(device), pooling).float(), dim=1)
        yield rows, vectors.cpu().numpy()


def batches(lengths: Sequence[int], budget: int) -> Iterator[npt.NDArray[np.intp]]:
    """Cut the rows, longest first, into batches whose longest length times size stays within `budget`."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    start = 0
    while start < len(order):
        size = max(1, budget // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size


def pad(sequences: Sequence[Sequence[int]], *, fill: int) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, int64 (b, longest)."""
    longest = max(map(len, sequences))
    ids = torch.full((len(sequences), longest), fill, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
        mask[row, : len(sequence)] = 1
    return ids, mask


def pool(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """One vector a text from token states (b, l, t): the first token's, or the mean over those that are not padding."""
    if pooling == "cls":
        return hidden[:, 0]
    weights = mask[:, :, None].to(hidden.dtype)
    pooled: Tensor = (hidden * weights).sum(1) / weights.sum(1)
    return pooled
