"""The encoder that made the items' vectors, without torch: a wish becomes a vector in a few milliseconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from bento.packed import FOLDER, ROOT
from models.bert_weights import arrange
from models.numpy_encoder import Floats, NumpyEncoder, unit_vector
from models.tokens import tokenize


class Encoder:
    """Texts to unit vectors (t,)."""

    def __init__(self, about: dict[str, Any], root: Path = ROOT) -> None:
        """about: pooling, prompt, max_length and dim, as release.json says them."""
        folder = root / FOLDER / "encoder"
        weights = {name: array.astype(np.float32) for name, array in load_file(folder / "model.safetensors").items()}
        self.about = about
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.states = NumpyEncoder(arrange(weights, json.loads((folder / "config.json").read_text("utf-8"))))

    def __call__(self, text: str) -> Floats | None:
        """The vector of a text; None where it has no word that the tokenizer knows how to cut."""
        if not text.strip():
            return None
        about = self.about
        tokens = tokenize(self.tokenizer, [about["prompt"] + text], max_length=about["max_length"])[0]
        return unit_vector(self.states(tokens), pooling=about["pooling"], dim=about["dim"]) if tokens else None
