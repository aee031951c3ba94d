"""A BERT-like encoder on concatenated texts: no padding, and every dense layer is one product over a whole batch.

Texts of equal length are adjacent, so that attention is a batched product as well; short texts share a block with a
mask, so that each attends only to itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from models.compute.dense import Dense
from models.inference.encoder.bert_weights import Bert, Layer, Linear, Norm

WIDTH = 32  # attention blocks are a multiple of it: a softmax over other widths took four times as long


class Run(NamedTuple):
    """Consecutive texts of equal length."""

    length: int  # tokens
    texts: int


class PackedEncoder:
    """Encoder from packed texts to token states on `device`; bert: torch tensors in float32.

    Products are computed in `dtype`; sums and norms between them in float32, which in bfloat16 leaves a third of the
    error for a few percent of the time.
    """

    def __init__(self, bert: Bert, *, dtype: torch.dtype, device: torch.device) -> None:
        def here(norm: Norm) -> Norm:
            return Norm(norm.weight.to(device), norm.bias.to(device))

        def dense(linear: Linear) -> Dense:
            return Dense(linear.weight.to(device, dtype), linear.bias.to(device, dtype))

        self.device, self.dtype = device, dtype
        self.dim, self.heads, self.epsilon = bert.words.shape[1], bert.heads, bert.epsilon
        self.words, self.positions, self.norm = bert.words.to(device), bert.positions.to(device), here(bert.norm)
        self.layers = [
            PackedLayer(
                dense(side_by_side(layer, bert.heads)),
                dense(layer.attention_out),
                here(layer.attention_norm),
                dense(layer.hidden),
                dense(layer.output),
                here(layer.output_norm),
            )
            for layer in bert.layers
        ]

    @torch.inference_mode()
    def __call__(self, ids: Tensor, runs: Sequence[Run]) -> Tensor:
        """Return the states, float32 (n, h), of tokens `ids`, int64 (n,), the runs' texts end to end."""
        positions = torch.cat([self.positions[: run.length].repeat(run.texts, 1) for run in runs])
        x = self.normalize(F.embedding(ids.to(self.device), self.words) + positions, self.norm)  # (n, h)
        pieces = [piece for run in runs for piece in cut(run)]
        masks = [piece.mask(self.dtype).to(self.device) for piece in pieces]
        for layer in self.layers:
            attended = self.attend(layer.attention_in(x.to(self.dtype)), pieces, masks)
            x = self.normalize(x + layer.attention_out(attended), layer.attention_norm)
            hidden = layer.hidden(x.to(self.dtype), gelu=True)
            x = self.normalize(x + layer.output(hidden), layer.output_norm)
        return x

    def normalize(self, x: Tensor, norm: Norm) -> Tensor:
        return F.layer_norm(x, (self.dim,), norm.weight, norm.bias, self.epsilon)

    def attend(self, projected: Tensor, pieces: Sequence[Piece], masks: Sequence[Tensor]) -> Tensor:
        """Return softmax(Q Kᵀ) V, each text separately; projected: Q, K and V side by side, (n, 3 h)."""
        attended = projected.new_empty(len(projected), self.dim)
        start = 0
        for piece, mask in zip(pieces, masks, strict=True):
            stop = start + piece.blocks * piece.used
            q, k, v = spread(projected[start:stop], piece, self.heads)  # (blocks * heads, width, h / heads)
            weights = torch.softmax(torch.baddbmm(mask, q, k.transpose(1, 2)), dim=-1)  # (…, width, width)
            mixed = torch.bmm(weights, v).view(piece.blocks, self.heads, piece.width, -1)[:, :, : piece.used]
            attended[start:stop].view(piece.blocks, piece.used, self.heads, -1).copy_(mixed.transpose(1, 2))
            start = stop
        return attended


class PackedLayer(NamedTuple):
    attention_in: Dense  # queries, keys and values: h to 3 h
    attention_out: Dense
    attention_norm: Norm
    hidden: Dense
    output: Dense
    output_norm: Norm


class Piece(NamedTuple):
    """Texts of equal length in attention blocks of equal width."""

    length: int
    texts: int  # in each block
    blocks: int

    @property
    def used(self) -> int:
        return self.length * self.texts

    @property
    def width(self) -> int:
        return -(-self.used // WIDTH) * WIDTH

    def mask(self, dtype: torch.dtype) -> Tensor:
        """Return the attention mask of a block, (width, width): 0 within a text, -inf between two.

        Padding of the block counts as one more text, so that every row has a score.
        """
        text = torch.arange(self.width).clamp(max=self.used) // self.length
        return torch.zeros(self.width, self.width, dtype=dtype).masked_fill_(text[:, None] != text, -torch.inf)


def cut(run: Run) -> list[Piece]:
    """Return the blocks of a run: each has as many texts as fit into the width of one text, rounded up."""
    texts = -(-run.length // WIDTH) * WIDTH // run.length
    full, rest = divmod(run.texts, texts)
    pieces = (Piece(run.length, texts, full), Piece(run.length, rest, 1))
    return [piece for piece in pieces if piece.texts * piece.blocks]


def spread(projected: Tensor, piece: Piece, heads: int) -> Tensor:
    """Return Q, K and V by block and head, (3, blocks * heads, width, h / heads), padded with zeros."""
    parts = projected.view(piece.blocks, piece.used, 3, heads, -1).permute(2, 0, 3, 1, 4)
    room = projected.new_empty(3, piece.blocks, heads, piece.width, parts.shape[-1])
    room[:, :, :, : piece.used] = parts
    room[:, :, :, piece.used :] = 0
    return room.flatten(1, 2)


def side_by_side(layer: Layer, heads: int) -> Linear:
    """Join queries, keys and values to one product, with the queries divided by sqrt(h / heads)."""
    scale = (layer.query.weight.shape[1] / heads) ** -0.5
    parts = (Linear(layer.query.weight * scale, layer.query.bias * scale), layer.key, layer.value)
    return Linear(torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts]))
