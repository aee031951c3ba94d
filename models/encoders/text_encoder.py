"""Encode token ids as unit vectors: sorted by length, in batches without padding, pooled, normalized."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.encoders.packed_encoder import Run

Pooling = Literal["mean", "cls", "last"]


class States(Protocol):
    """A transformer on packed texts: states (n, h) of token ids (n,), the runs' texts end to end."""

    def __call__(self, ids: Tensor, runs: Sequence[Run], /) -> Tensor: ...


class EqualLengths:
    """Any encoder of the transformers library as `States`: texts of equal length form a batch without a mask."""

    def __init__(self, model: Any) -> None:
        self.model = model

    @torch.inference_mode()
    def __call__(self, ids: Tensor, runs: Sequence[Run]) -> Tensor:
        parts = torch.split(ids.to(self.model.device), [run.length * run.texts for run in runs])
        return torch.cat(
            [
                self.model(input_ids=part.view(run.texts, run.length)).last_hidden_state.flatten(0, 1)
                for part, run in zip(parts, runs, strict=True)
            ]
        )


def encode(
    states: States, tokens: Sequence[Sequence[int]], *, pooling: Pooling, batch_tokens: int, dim: int
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]]:
    """Yield (rows, vectors): positions in `tokens`, (b,), and their vectors of length one, float32 (b, dim).

    Longest texts first; a batch has at most `batch_tokens` tokens, but at least one text. A text without tokens has
    the zero vector. dim: number of leading components to keep.
    """
    lengths = np.array([len(ids) for ids in tokens], np.intp)
    if len(empty := np.flatnonzero(lengths == 0)):
        yield empty, np.zeros((len(empty), dim), np.float32)
    for rows in batches(lengths, batch_tokens):
        runs = [Run(length, sum(1 for _ in same)) for length, same in groupby(lengths[rows].tolist())]
        ids = torch.from_numpy(np.concatenate([np.asarray(tokens[row], np.int64) for row in rows]))
        pooled = pool(states(ids, runs), runs, pooling)[:, :dim]
        yield rows, torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()


def batches(lengths: npt.NDArray[np.intp], budget: int) -> Iterator[npt.NDArray[np.intp]]:
    """Yield batches of the rows with a length above 0, longest first; lengths sum to at most `budget` per batch."""
    order = np.argsort(-lengths, kind="stable")
    order = order[: np.count_nonzero(lengths)]
    ends = np.cumsum(lengths[order])
    start, before = 0, 0
    while start < len(order):
        stop = max(start + 1, int(np.searchsorted(ends, before + budget, side="right")))
        yield order[start:stop]
        start, before = stop, int(ends[stop - 1])


def pool(states: Tensor, runs: Sequence[Run], pooling: Pooling) -> Tensor:
    """Return one vector per text, float32 (b, h), from token states (n, h): mean, first or last of its tokens."""
    pooled = []
    for run, part in zip(runs, torch.split(states, [run.length * run.texts for run in runs]), strict=True):
        of_text = part.view(run.texts, run.length, -1)  # (texts, tokens, h)
        if pooling == "mean":
            pooled.append(of_text.float().mean(1))
        else:
            pooled.append(of_text[:, 0 if pooling == "cls" else -1].float())
    return torch.cat(pooled)
