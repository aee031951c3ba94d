"""A CLIP-like encoder: texts and images as vectors of one space, by two towers (Radford et al. 2021)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Projected(NamedTuple):
    last_hidden_state: Tensor  # (b, n, t)


class TextTower:
    """Text tower: token states in the common space; the state of a text's last token is the text's vector."""

    def __init__(self, clip: Any) -> None:
        """Take the text tower of `clip`, a model of the transformers library."""
        self.clip, self.device = clip, clip.device

    def __call__(self, input_ids: Tensor) -> Projected:
        states = self.clip.text_model(input_ids=input_ids).last_hidden_state
        return Projected(self.clip.text_projection(states))


class ImageTower:
    def __init__(self, clip: Any) -> None:
        self.clip = clip

    @torch.inference_mode()
    def __call__(self, pixels: Tensor, *, dim: int) -> Tensor:
        """Return unit vectors, float32 (b, dim), of images (b, 3, height, width), preprocessed as the model expects."""
        pooled = self.clip.vision_model(pixel_values=pixels.to(self.clip.device, self.clip.dtype)).pooler_output
        projected = self.clip.visual_projection(pooled)[:, :dim].float()
        return torch.nn.functional.normalize(projected, dim=1).cpu()
