"""The text encoder of the item vectors, without torch: it encodes a query in a few milliseconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file
from tokenizers import Tokenizer

from bento.model.files import FOLDER, ROOT
from models.inference.encoder import static_encoder
from models.inference.encoder.bert_weights import arrange
from models.inference.encoder.numpy_encoder import Floats, NumpyEncoder, unit_vector
from models.inference.encoder.projection import COMPONENTS, MEAN, Projection
from models.inference.encoder.quantization import restored
from models.inference.encoder.tokens import tokenize


class Encoder:
    """Encoder from a text to a unit vector (t,)."""

    def __init__(self, about: dict[str, Any], root: Path = ROOT) -> None:
        """Read the weights; about: form, pooling, prompt, max_length and dim, from release.json."""
        folder = root / FOLDER / "encoder"
        arrays = load_file(folder / "model.safetensors")
        self.about = about
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        reduces = MEAN in arrays
        self.projection = Projection(arrays.pop(MEAN), arrays.pop(COMPONENTS)) if reduces else None
        config = json.loads((folder / "config.json").read_text("utf-8"))
        if "table" in arrays:  # of the form static
            table = arrays["table"]
            self.vector: Callable[[list[int]], Floats] = lambda tokens: static_encoder.vector(table, tokens)
        else:
            states = NumpyEncoder(arrange(restored(arrays), config))
            self.vector = lambda tokens: unit_vector(states(tokens), pooling=about["pooling"], dim=about["dim"])

    def __call__(self, text: str) -> Floats | None:
        """Return the vector of a text; None if the tokenizer finds no token in it."""
        if not text.strip():
            return None
        about = self.about
        tokens = tokenize(self.tokenizer, [about["prompt"] + text], max_length=about["max_length"])[0]
        if not tokens:
            return None
        vector = self.vector(tokens)
        return vector if self.projection is None else self.projection(vector[None])[0]
